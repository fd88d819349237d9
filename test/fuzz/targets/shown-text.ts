// Text of anybody on a terminal and in the log: every function that makes it fit to be shown.
import { quote } from '../../../client/quote.ts';
import { quoted as quotedByDaemon } from '../../../daemon/problem.ts';
import { safeText } from '../../../daemon/safe-text.ts';
import { secretFromSeed } from '../../../protocol/identity.ts';
import { formatPublicLine, parsePublicLine } from '../../../protocol/openssh.ts';
import { quoted } from '../../../protocol/quoted.ts';
import { hold, holdPlain } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

const KEY = secretFromSeed(new Uint8Array(32).fill(5)).publicKey;

/** Also halves of surrogate pairs, which UTF-8 does not have: an even length is read as UTF-16. */
function textOf(input: Uint8Array): string {
  return input.length % 2 === 0 ? Buffer.from(input).toString('utf16le') : Buffer.from(input).toString('utf8');
}

function run(input: Uint8Array): string {
  const text = textOf(input);
  const shown = {
    quote: quote(text),
    quoted: quoted(text),
    quotedByDaemon: quotedByDaemon(text),
    safeText: safeText(text),
    short: safeText(text, 7),
  };
  for (const [name, result] of Object.entries(shown)) {
    holdPlain(result, name);
    hold(result.length < 1000, `${name} without end`);
  }
  // Readable back: nothing is shown as something else.
  if (text.length <= 64) {
    hold(JSON.parse(shown.quote) === text, 'quote shows another text');
    hold(JSON.parse(shown.quoted) === text, 'quoted shows another text');
  }
  hold(shown.short.length <= 7 + `… (${text.length} more)`.length, 'longer than it may be');
  if (text.length <= 200 && /^[\x20-\x7e]*$/.test(text)) hold(shown.safeText === text, 'plain text is not shown as it is');
  const line = formatPublicLine(KEY, text);
  hold(!/\p{Cc}/u.test(line) && parsePublicLine(line).ok, 'a comment that breaks its line');
  return text.length > 64 ? 'long' : /[^\x20-\x7e]/.test(text) ? 'strange' : 'plain';
}

export const target: FuzzTarget = {
  about: 'text of anybody, made fit to be shown',
  covers: ['daemon/safe-text.ts', 'protocol/quoted.ts'],
  kind: 'text',
  maxBytes: 500,
  seeds: ['plain', 'a\u001b[2J\u202e"\\', '\u{e0041}\u{1f600}\u061c\u0085', Buffer.from('\ud800x\udc00', 'utf16le'), 'x'.repeat(301)],
  dictionary: ['\u{e0020}', '\u{1d173}', '\u061c', '\u180e', '\u2066', '\u{110bd}', '\ufeff', '\u00ad', '\ufff9', '\u{e0001}', '\u2028'],
  run,
  mustReach: ['plain', 'strange', 'long'],
};
