// The same of a gate in iptables: elements of sets as ipset lists them, rules with their deadlines as iptables-save lists them, counters.
import type { Host } from '../lab/host.ts';
import type { KernelView, OpeningSet } from './kernel-view.ts';
import type { Span } from './model.ts';

const TOOLS = ['iptables-save --counters --table mangle', 'ip6tables-save --counters --table mangle', 'ipset save'] as const;

const SETS: Readonly<Record<string, OpeningSet>> = { grant: 'grants', ending: 'ending', bound: 'bound', 'bound-ending': 'boundending' };

/** Undefined: neither family has a gate. */
export async function readIptables(server: Host): Promise<KernelView | undefined> {
  // Without ipset there is nothing to be listed.
  const { stdout } = await server.exec(['sh', '-c', TOOLS.join('; ')], { mayFail: true });
  const jumps = [...stdout.matchAll(/-A PREROUTING -j POSTERN$/gm)].length;
  if (jumps === 0) return undefined;
  if (jumps !== 2) throw new Error(`${jumps} ways to the gate instead of one for each family:\n${stdout}`);
  const openings = new Map<string, Span>();
  for (const [, kind = '', address, protocol, port, seconds] of stdout.matchAll(
    /^add postern-(grant|ending)[46] (\S+),(tcp|udp):(\d+) timeout (\d+)/gm,
  ))
    openings.set(`${SETS[kind]} ${address} ${protocol} ${port}`, wholeSeconds(Number(seconds)));
  const upMs = Number(process.hrtime.bigint()) / 1e6;
  for (const [rule, kind = '', until] of stdout.matchAll(
    /^(?:\[\S+\] )?-A POSTERN-OPEN .*"postern (grant|ending|bound|bound-ending) until (\d+)".*$/gm,
  )) {
    const part = (flag: string) => new RegExp(` ${flag} (\\S+)`).exec(rule)?.[1]?.replace(/\/(?:32|128)$/, '');
    const source = part('--sport') === undefined ? '' : ` ${part('--sport')}`;
    const leftMs = Number(until) - upMs;
    openings.set(`${SETS[kind]} ${part('-s')} ${part('-p')}${source} ${part('--dport')}`, { from: leftMs, to: leftMs });
  }
  const counters = stdout.matchAll(/^\[(\d+):\d+\] .*--comment "postern (?:knocks|junk)"/gm);
  return { openings, tags: new Set(), heard: [...counters].reduce((sum, [, packets]) => sum + Number(packets), 0) };
}

/** ipset cuts off what is left of a second, and says 1 also when it is less. */
function wholeSeconds(shown: number): Span {
  return { from: shown === 1 ? 0 : shown * 1000, to: (shown + 1) * 1000 };
}
