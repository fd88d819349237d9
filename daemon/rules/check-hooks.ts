// Whether the hooks of an allow entry can be run and mean something; each complaint at its place. Runs nothing.
import { isAbsolute } from 'node:path';
import { didYouMean } from '../config/nearest.ts';
import type { Path, YamlSource } from '../config/yaml-source.ts';
import { type Hook, type Hooks, PLACEHOLDERS, unknownPlaceholders } from '../hooks/hook.ts';
import { judgeProgram, type Untrusted } from '../hooks/trusted-program.ts';
import { type Problem, problemAt, quoted } from '../problem.ts';

/** Says what is wrong with a program. */
export type Judge = (program: string) => Promise<Untrusted | undefined>;

/** The same program stands in many entries: it is looked at once for each load. */
export function rememberingJudge(): Judge {
  const known = new Map<string, Promise<Untrusted | undefined>>();
  return (program) => {
    const judged = known.get(program) ?? judgeProgram(program);
    known.set(program, judged);
    return judged;
  };
}

/** What stands at `on_open` and `on_close` of the entry at `here`. */
export async function checkHooks(source: YamlSource, here: Path, hooks: Hooks, judge: Judge, problems: Problem[]): Promise<void> {
  if (hooks.onOpen !== undefined) await checkHook(source, [...here, 'on_open'], hooks.onOpen, judge, problems);
  if (hooks.onClose !== undefined) await checkHook(source, [...here, 'on_close'], hooks.onClose, judge, problems);
}

async function checkHook(source: YamlSource, here: Path, hook: Hook, judge: Judge, problems: Problem[]): Promise<void> {
  const [program, ...args] = hook;
  hook.forEach((arg, at) => {
    if (arg.includes('\0')) problems.push(problemAt(source.placeOf([...here, at]), 'an argument holds a zero byte', 'remove it'));
  });
  args.forEach((arg, at) => {
    for (const name of unknownPlaceholders([arg])) {
      const cure = didYouMean(name, PLACEHOLDERS, `known are ${PLACEHOLDERS.map((each) => `{${each}}`).join(' ')}`);
      problems.push(problemAt(source.placeOf([...here, at + 1]), `nothing is called {${name}} here`, cure));
    }
  });
  const place = source.placeOf([...here, 0]);
  if (!isAbsolute(program) || program.includes('\0')) {
    const what = /\s/.test(program) ? 'one argument is one entry of the list, and ' : '';
    problems.push(
      problemAt(place, `not the path of a program: ${quoted(program)}`, `${what}write the whole path, like /usr/local/bin/notify`),
    );
    return;
  }
  const untrusted = await judge(program);
  if (untrusted !== undefined) problems.push(problemAt(place, untrusted.why, untrusted.cure));
}
