// What must hold of every problem with a YAML file: it has its place there, it is plain text, and it tells no secret.
import type { Problem } from '../../daemon/problem.ts';
import { formatProblem } from '../../daemon/problem.ts';
import { hold, holdPlain } from './hold.ts';

/** Stands in seeds where somebody might put a secret by mistake: as a key, a path, a hook. No message may tell 48 letters of it. */
export const SECRET = 'b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQ';
/** A pre-shared key, 32 bytes. */
export const PSK = 'ZnV6emluZyBpcyBub3QgYSBzZWNyZXQsIHRoaXMga2U=';

export function holdProblems(problems: readonly Problem[], file: string, text: string): void {
  const lines = text.split('\n').length;
  for (const problem of problems) {
    const { place, message, cure } = problem;
    hold(message !== '', 'a problem without a message');
    hold(place !== undefined, () => `no place: ${message}`);
    hold(
      place.file === file && place.line >= 1 && place.line <= lines && place.column >= 1,
      () => `a place that is not there: ${place.line}:${place.column} ${message}`,
    );
    const shown = formatProblem(problem);
    holdPlain(shown, 'a problem');
    hold(shown.startsWith(`${file}:${place.line}:${place.column}: `), 'no file:line:column');
    hold(
      !shown.includes(SECRET.slice(0, 48)) && !shown.includes(SECRET.slice(-48)) && !shown.includes(PSK),
      () => `a secret in a message: ${message.slice(0, 40)}`,
    );
    hold(
      shown.length < 2400 && !cure.includes('undefined') && !message.includes('[object'),
      () => `not a sentence: ${shown.slice(0, 100)}`,
    );
  }
}
