// Whether the interfaces that the configuration names are there, and can be matched by their names. Looks and changes nothing.
import { lstat, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Config } from './config/config.ts';
import { didYouMean } from './config/nearest.ts';
import { type Problem, problemAt } from './problem.ts';

/** An interface that is not there is a slip unless it is marked optional. A bridge port's name never matches in the gate, as packets show the bridge: it would stand silently open. */
export async function interfaceProblems(config: Config): Promise<readonly Problem[]> {
  if (config.interfaces.length === 0) return [];
  const lines = await readFile('/proc/self/net/dev', 'latin1').catch(() => '');
  const present = lines.split('\n').flatMap((line) => /^\s*([^\s:]+):/.exec(line)?.[1] ?? []);
  // One that is named already cannot be what another name was to be.
  const unnamed = present.filter((each) => !config.interfaces.some(({ name }) => name === each));
  const problems: Problem[] = [];
  for (const { name, optional, place } of config.interfaces) {
    if (!present.includes(name)) {
      const cure = didYouMean(name, unnamed, `write "${name}?" if it may come later: the gate stands there as soon as it appears`);
      if (!optional) problems.push(problemAt(place, `there is no interface ${name}`, cure));
      continue;
    }
    const isPort = await lstat(`/sys/class/net/${name}/brport`).then(
      () => true,
      () => false,
    );
    if (!isPort) continue;
    const bridge = basename(await readlink(`/sys/class/net/${name}/master`).catch(() => 'the bridge'));
    problems.push(
      problemAt(
        place,
        `${name} is a port of ${bridge}: packets show the bridge, so a gate on ${name} would never close`,
        `write ${bridge} in its place`,
      ),
    );
  }
  return problems;
}
