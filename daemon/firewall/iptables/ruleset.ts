// The gate as rules of the mangle table, one text for each family: from a layout to what iptables-restore --noflush reads. Pure.
//
// PREROUTING ──► POSTERN ── knock port, our address ──► KNOCK ── as long as a knock ──► SEEN: log, drop
//                   └────► ARRIVED ── protected port ──► HERE ── our address ──► OURS
//                          OURS: trusted, CUTS, answers, established (WHILE), OPEN; what is left ──► REFUSE
// Chains are entered by goto, so that `-j RETURN` anywhere goes back to PREROUTING: no objection from us.
import type { Family } from '../../../protocol/address.ts';
import { formatPortRange, type PortRange } from '../../../protocol/ports.ts';
import type { GateCounters, GateLayout } from '../firewall.ts';
import { datedRule, type WallClock } from './dated-rules.ts';
import { type Entry, type EntryKind, familyOf } from './entries.ts';
import type { Names, Suffix } from './names.ts';
import { REJECT_MARK } from './rejecting.ts';

/** Where entries live: in sets whose kernel ends them (all but those for a source port), or all as rules. */
export type Backing = 'sets' | 'rules';

/** All that the rules of one family are made from. */
export type Draft = {
  readonly names: Names;
  readonly family: Family;
  readonly layout: GateLayout;
  readonly backing: Backing;
  readonly wall: WallClock;
  /** Those that are rules, of both families. */
  readonly entries: readonly Entry[];
  readonly counters: GateCounters;
  /** What the gate made that was not there before it: see leftovers.ts. */
  readonly made: readonly string[];
};

// Fixed by SPEC.md "Packet": 192 to 448 bytes; with the UDP header and an IP header without options.
const KNOCK_BYTES = { least: 192 + 8, most: 448 + 8 } as const;
const IP_HEADER_BYTES = { 4: 20, 6: 40 } as const;
/**
 * What this host takes in itself: its own addresses, and those that it shares with others (broadcast, multicast, anycast), by which a UDP service
 * is reached as well. For IPv6 the kernel's match calls local addresses unicast too.
 */
const TAKEN_IN = { 4: ['! --dst-type UNICAST'], 6: ['--dst-type LOCAL', '--dst-type ANYCAST', '--dst-type MULTICAST'] } as const;
/** Set on connections whose grant says `sessions: end`; a label, as marks belong to others. */
const ENDING_LABEL = 117;
/** Fixed by iptables: ports in one multiport match; a range counts twice. */
const PORTS_IN_MATCH = 15;

/** The chains of the gate with their rules, each declared, which empties it first. `-c` lets the counters be given. */
export function chainLines(draft: Draft): readonly string[] {
  const { names, made } = draft;
  const note = made.length === 0 ? [] : [`-m comment --comment "postern made ${made.join(' ')}"`];
  const entry = [...note, ...entryRules(draft)].map((rule) => `-A ${names.entry} ${rule}`);
  const chains = Object.entries(otherChains(draft)) as [Suffix, readonly string[]][];
  return [
    `:${names.entry} - [0:0]`,
    ...chains.map(([suffix]) => `:${names.chain(suffix)} - [0:0]`),
    ...entry,
    ...chains.flatMap(([suffix, rules]) => rules.map((rule) => counted(draft, suffix, rule))),
  ];
}

/** Only the chains that entries are in: for a change of entries while the gate stands. */
export function entryChainLines(draft: Draft): readonly string[] {
  const chains = Object.entries(chainsOfEntries(draft)) as [Suffix, readonly string[]][];
  return chains.flatMap(([suffix, rules]) => {
    const chain = draft.names.chain(suffix);
    return [`:${chain} - [0:0]`, ...rules.map((rule) => `-A ${chain} ${rule}`)];
  });
}

/** Whether this entry is a rule there. */
export function isRule({ kind }: Pick<Entry, 'kind'>, backing: Backing): boolean {
  return backing === 'rules' || kind === 'bound' || kind === 'bound-ending';
}

function counted({ names, counters }: Draft, suffix: Suffix, rule: string): string {
  const counter = /--comment "postern (knocks|junk|refused|ended)"/.exec(rule)?.[1];
  const packets = counter === undefined ? 0 : counters[counter as keyof GateCounters];
  return `${packets === 0 ? '' : `[${packets}:0] `}-A ${names.chain(suffix)} ${rule}`;
}

function entryRules({ names, layout }: Draft): readonly string[] {
  const { interfaces, sieve, knockPort } = layout;
  const toKnock = `-p udp -m udp --dport ${knockPort} -m addrtype --dst-type LOCAL -j ${names.chain('KNOCK')}`;
  const arrived = `-g ${names.chain('ARRIVED')}`;
  const from = interfaces.map((name) => `-i ${name} `);
  return [
    // A knock for another host (we are its router) is not ours to drop (P30c).
    ...(sieve.kind === 'none' ? [] : interfaces.length === 0 ? [toKnock] : from.map((on) => on + toKnock)),
    ...(interfaces.length === 0 ? ['-i lo -j RETURN', arrived] : from.map((on) => on + arrived)),
  ];
}

function otherChains(draft: Draft): Readonly<Partial<Record<Suffix, readonly string[]>>> {
  const { names, layout, family } = draft;
  const { refuse, protect, networks, trusted } = layout;
  const here = `-g ${names.chain('HERE')}`;
  const ours = `-g ${names.chain('OURS')}`;
  const established = '-m conntrack --ctstate ESTABLISHED';
  return {
    ...sieveChains(draft),
    ARRIVED: portMatches(protect).map((match) => `${match} ${here}`),
    // Our own addresses and those of groups, published (DNAT) ports included; traffic that only passes through is not ours.
    HERE: [
      ...TAKEN_IN[family].map((match) => `-m addrtype ${match} ${ours}`),
      ...networks.filter(({ address }) => address.family === family).map(({ text }) => `-d ${text} ${ours}`),
    ],
    OURS: [
      ...trusted.filter(({ address }) => address.family === family).map(({ text }) => `-s ${text} -j RETURN`),
      `-j ${names.chain('CUTS')}`,
      // Conntrack calls a SYN established too when it still remembers a connection from the same source port: whoever had one must knock again.
      `-p tcp -m tcp --syn -g ${names.chain('OPEN')}`,
      // Answers to what this host began (WireGuard, NTP, IKE from a protected source port).
      `${established} --ctdir REPLY -j RETURN`,
      // `related` is left out on purpose: ICMP is never protected, and helpers could open ports.
      `${established} -m connlabel --label ${ENDING_LABEL} -g ${names.chain('WHILE')}`,
      `${established} -j RETURN`,
      `-g ${names.chain('OPEN')}`,
    ],
    ...chainsOfEntries(draft),
    CUT: [
      '-p udp -m conntrack --ctdir REPLY -j RETURN',
      // Connections are ended; one that would begin is refused like anybody's, so that a revoked client sees no special answer.
      `-m conntrack --ctstate NEW -g ${names.chain('REFUSE')}`,
      `-g ${names.chain('END')}`,
    ],
    ENDING: [`-m connlabel --label ${ENDING_LABEL} --set -j RETURN`, '-j RETURN'],
    // A reset cannot be sent from this table: what was ended gets no answer any more (`ss -K` tells both ends of this host's own connections).
    END: ['-m comment --comment "postern ended" -j DROP'],
    REFUSE:
      refuse === 'drop'
        ? ['-m comment --comment "postern refused" -j DROP']
        : // Accepted here means: no later rule of this table may change the mark. The packet is rejected in the tables after it.
          [`-m comment --comment "postern refused" -j MARK --set-mark ${REJECT_MARK}`, '-j ACCEPT'],
  };
}

/** There is no sieve to be had: every datagram to the knock port that is as long as a knock goes to the daemon. */
function sieveChains({ names, layout, family }: Draft): Readonly<Partial<Record<Suffix, readonly string[]>>> {
  const { sieve, unmatched } = layout;
  if (sieve.kind === 'none') return {};
  // A knock is answered like junk (P20): with `pass` the host answers it as for any closed port.
  const answer = unmatched === 'drop' ? '-j DROP' : '-j RETURN';
  const header = IP_HEADER_BYTES[family];
  const log = sieve.kind === 'log' ? [`-j NFLOG --nflog-group ${sieve.group} --nflog-prefix ${sieve.prefix} --nflog-threshold 1`] : [];
  return {
    KNOCK: [
      `-m length --length ${KNOCK_BYTES.least + header}:${KNOCK_BYTES.most + header} -g ${names.chain('SEEN')}`,
      `-m comment --comment "postern junk" ${answer}`,
    ],
    SEEN: [...log, `-m comment --comment "postern knocks" ${sieve.kind === 'log' ? answer : '-j RETURN'}`],
  };
}

function chainsOfEntries(draft: Draft): Readonly<Partial<Record<Suffix, readonly string[]>>> {
  const { names, family, backing, wall, entries } = draft;
  const goTo = (suffix: Suffix): string => `-g ${names.chain(suffix)}`;
  const matches = (kind: 'grant' | 'ending' | 'cut', verdict: string): string =>
    `-m set --match-set ${names.set(kind, family)} src,dst ${verdict}`;
  const sets = (...rules: readonly string[]): readonly string[] => (backing === 'sets' ? rules : []);
  const dated = (kind: EntryKind, verdict: string): readonly string[] =>
    entries
      .filter((entry) => entry.kind === kind && familyOf(entry) === family && isRule(entry, backing))
      .map((entry) => datedRule(entry, wall, verdict));
  const live = `-p tcp -m tcp ! --syn -m set --match-set ${names.set('live', family)} src,src,dst -j RETURN`;
  return {
    CUTS: [...sets(matches('cut', goTo('CUT'))), ...dated('cut', goTo('CUT'))],
    WHILE: [
      ...sets(matches('ending', '-j RETURN'), matches('grant', '-j RETURN')),
      ...(['ending', 'bound-ending', 'grant'] as const).flatMap((kind) => dated(kind, '-j RETURN')),
      goTo('END'),
    ],
    OPEN: [
      ...sets(matches('ending', goTo('ENDING')), matches('grant', '-j RETURN'), live),
      ...(['ending', 'bound-ending'] as const).flatMap((kind) => dated(kind, goTo('ENDING'))),
      ...(['grant', 'bound', 'live'] as const).flatMap((kind) => dated(kind, '-j RETURN')),
      goTo('REFUSE'),
    ],
  };
}

/** As few matches as hold all ports. */
function portMatches(ranges: readonly PortRange[]): readonly string[] {
  return (['tcp', 'udp'] as const).flatMap((protocol) => {
    const groups: PortRange[][] = [];
    let room = 0;
    for (const range of ranges) {
      if (range.protocol !== protocol) continue;
      const needed = range.first === range.last ? 1 : 2;
      if (room < needed) {
        groups.push([]);
        room = PORTS_IN_MATCH;
      }
      groups.at(-1)?.push(range);
      room -= needed;
    }
    return groups.map((group) => `-p ${protocol} -m multiport --dports ${group.map(portsText).join(',')}`);
  });
}

function portsText(range: PortRange): string {
  return formatPortRange(range)
    .replace(/^(tcp|udp)\//, '')
    .replace('-', ':');
}
