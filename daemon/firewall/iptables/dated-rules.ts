// Entries as rules: where the kernel has no sets, and for what no set can hold. A rule carries its deadline in its comment, on the clock that
// never steps; where iptables can match the time, the kernel ends it by the wall clock too, should nobody sweep. Pure.
import { parseAddress } from '../../../protocol/address.ts';
import { monotonicMs } from '../../clock.ts';
import { ENTRY_KINDS, type Entry, type EntryKind } from './entries.ts';

/** How a deadline reads on the wall clock. `undefined`: this host's iptables cannot match the time. */
export type WallClock = { readonly aheadOfMonotonicMs: number } | undefined;

const COMMENT = new RegExp(`--comment "postern (${ENTRY_KINDS.join('|')}) until (\\d+)"`);

/** Without `-A CHAIN`; `verdict` is `-j RETURN` and its like. */
export function datedRule(entry: Entry, wall: WallClock, verdict: string): string {
  const { kind, peer, protocol, port, sourcePort, local, deadlineMs } = entry;
  const ports = `-m ${protocol}${sourcePort === 0 ? '' : ` --sport ${sourcePort}`} --dport ${port}`;
  // A connection that lives is never begun by the packets that it is let on for.
  const unbegun = kind === 'live' ? ' ! --syn' : '';
  const to = local === undefined ? '' : ` -d ${local.text}`;
  const time = wall === undefined ? '' : ` -m time --datestop ${dateStop(deadlineMs + wall.aheadOfMonotonicMs)}`;
  const comment = `-m comment --comment "postern ${kind} until ${Math.floor(deadlineMs)}"`;
  return `-s ${peer.text}${to} -p ${protocol} ${ports}${unbegun}${time} ${comment} ${verdict}`;
}

/** Whole seconds, UTC. iptables proper lets it stand to the end of that second, its form for nf_tables to the beginning. */
function dateStop(wallMs: number): string {
  return new Date(Math.round(wallMs / 1000) * 1000).toISOString().slice(0, 19);
}

/** Reads a rule as iptables-save prints it (`-A CHAIN` taken off). Undefined: not a dated rule. */
export function readDatedRule(text: string): Entry | undefined {
  const comment = COMMENT.exec(text);
  if (comment === null) return undefined;
  const peer = parseAddress(/(?:^| )-s ([0-9a-f.:]+)(?:\/32|\/128)? /.exec(text)?.[1] ?? '');
  const local = parseAddress(/(?:^| )-d ([0-9a-f.:]+)(?:\/32|\/128)? /.exec(text)?.[1] ?? '');
  const protocol = /(?:^| )-p (tcp|udp) /.exec(text)?.[1];
  const port = Number(/ --dport (\d+) /.exec(text)?.[1]);
  if (!peer.ok || !Number.isInteger(port)) return undefined;
  return {
    kind: comment[1] as EntryKind,
    peer: peer.value,
    protocol: protocol === 'udp' ? 'udp' : 'tcp',
    port,
    sourcePort: Number(/ --sport (\d+) /.exec(text)?.[1] ?? 0),
    local: local.ok ? local.value : undefined,
    deadlineMs: monotonicMs(Number(comment[2])),
  };
}
