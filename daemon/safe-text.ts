// Makes text from outside fit to be shown: no byte that a terminal or a log reader would obey, and never long (P34).

// Tunable
const MAX_CHARS = 200;

// C0 and C1 controls, DEL, zero-width, bidirectional and tag characters, line and paragraph separators, halves of surrogate pairs.
const UNSAFE = /^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]$/u;

/** The text on one line, each unsafe character as its escape (`\x1b`, `\u202e`); at most `maxChars`, then a note of how much is missing. */
export function safeText(text: string, maxChars: number = MAX_CHARS): string {
  let safe = '';
  let taken = 0;
  // By code points: a pair is never cut in two. Stops early: 64 KiB of rubbish is not worked through.
  for (const character of text) {
    const shown = UNSAFE.test(character) ? escaped(character) : character;
    if (safe.length + shown.length > maxChars) break;
    safe += shown;
    taken += character.length;
  }
  return taken === text.length ? safe : `${safe}… (${text.length - taken} more)`;
}

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`;
}
