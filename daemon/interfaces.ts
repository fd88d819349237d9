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
  problems.push(...(await uncoveredDefault(config)));
  return problems;
}

/** The way to the internet left out is the commonest slip in this list, and leaves everything open that was to be closed. */
async function uncoveredDefault(config: Config): Promise<readonly Problem[]> {
  const [v4, v6] = await Promise.all(['route', 'ipv6_route'].map((file) => readFile(`/proc/self/net/${file}`, 'latin1').catch(() => '')));
  const left = defaultRouteInterfaces(v4 ?? '', v6 ?? '').filter((each) => !config.interfaces.some(({ name }) => name === each));
  if (left.length === 0 || config.protect.length === 0) return [];
  const named = left.join(' and ');
  return [
    problemAt(
      config.interfaces[0]?.place,
      `interfaces leaves out ${named}, where the default route goes: protected ports are open to everyone there`,
      `add ${left.join(', ')}, or leave interfaces out to close them everywhere`,
      'warning',
    ),
  ];
}

/** The interfaces of the default routes, from the text of /proc/net/route and /proc/net/ipv6_route. */
export function defaultRouteInterfaces(v4: string, v6: string): readonly string[] {
  const found = new Set<string>();
  for (const line of v4.split('\n').slice(1)) {
    const [name = '', destination, , flags = '', , , , mask] = line.split('\t').map((field) => field.trim());
    if (destination === '00000000' && mask === '00000000' && leadsSomewhere(flags)) found.add(name);
  }
  for (const line of v6.split('\n')) {
    const [destination = '', length, , , , , , , flags = '', name = ''] = line.trim().split(/\s+/);
    if (/^0{32}$/.test(destination) && length === '00' && leadsSomewhere(flags)) found.add(name);
  }
  found.delete('lo');
  return [...found].sort();
}

/** RTF_UP, and not RTF_REJECT (linux/route.h). */
function leadsSomewhere(flags: string): boolean {
  return (Number.parseInt(flags, 16) & 0x201) === 0x001;
}
