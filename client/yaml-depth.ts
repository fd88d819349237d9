// Whether a YAML text is nested deeper than any profile is: the parser recurses, and a text can make it overflow, or take the process with it.
import { Lexer } from 'yaml';

// Tunable. Profiles are five levels deep.
const MAX_DEPTH = 32;

/** The line of a spot that is nested too deep. The lexer does not recurse. */
export function deepLine(text: string): number | undefined {
  let flow = 0;
  let inLine = 0;
  let line = 1;
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') flow += 1;
    else if (token === ']' || token === '}') flow = Math.max(0, flow - 1);
    else if (token === '-' || token === '?' || token === ':') inLine += 1;
    else if (token === ',' || token.endsWith('\n')) inLine = 0;
    if (flow > MAX_DEPTH || inLine > MAX_DEPTH) return line;
    line += token.split('\n').length - 1;
  }
  const steep = /^ {512}/m.exec(text);
  return steep === null ? undefined : text.slice(0, steep.index).split('\n').length;
}
