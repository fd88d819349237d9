// How text that anybody may have written stands in a message: quoted, on one line, harmless to a terminal, and short (P34).

const SHOWN_LETTERS = 64;

/** The text in double quotes, escaped as in JSON, control, format and separator characters too; cut when it is long. */
export function quoted(text: string): string {
  const cut = text.length > SHOWN_LETTERS ? `${text.slice(0, SHOWN_LETTERS)}…` : text;
  // JSON leaves C1 controls, text direction marks and line separators as they are; a terminal or a log viewer may obey them.
  return JSON.stringify(cut).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) =>
    Array.from({ length: letter.length }, (_, at) => `\\u${letter.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}
