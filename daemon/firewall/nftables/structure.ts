// The gate as rules: from a layout to the requests that build its table. Pure. test/integration/gate-structure.test.ts holds the same
// table as text, as nft lists it; docs/decisions says why it is not loaded as text.
//
// prerouting, raw:     sieve ── knock port ──► knock      tag armed: delete it, count, log, drop; else junk
// prerouting, mangle:  gate ── on an interface ──► arrived ── protected port ──► here ── our address ──► ours
//                      ours: trusted, cut, first packets ──► openings, answers, established; what is left ──► openings
//                      openings: grants, one-shots; what is left ──► refuse
import { PROTOCOL_NUMBER } from '../../../protocol/ports.ts';
import type { GateLayout, Opening } from '../firewall.ts';
import * as e from './expressions.ts';
import {
  admittedEndingSet,
  admittedKeyParts,
  admittedSet,
  cutKeyParts,
  cutSet,
  openingKeyParts,
  openingSet,
  PROTECTED_KEY,
  PROTECTED_SET,
  TAG_KEY,
  TAG_SET,
  VERSIONS,
} from './sets.ts';

export const COUNTERS = ['knocks', 'junk', 'refused', 'ended'] as const;

/** Set on connections whose grant says `sessions: end`. */
const ENDING_LABEL = 117;
const { tcp: TCP, udp: UDP } = PROTOCOL_NUMBER;

export type Rule = e.Expressions;
export type Chain = { readonly name: string; readonly hook: 'raw' | 'mangle' | undefined; readonly rules: readonly Rule[] };

/** Chains in an order in which they can be created; rules may then jump anywhere. */
export function gateChains(layout: GateLayout): readonly Chain[] {
  return [...sieveChains(layout), ...gateOnly(layout)];
}

function sieveChains(layout: GateLayout): readonly Chain[] {
  const { sieve, knockPort, unmatched } = layout;
  if (sieve.kind === 'none') return [];
  const answer = e.verdict(unmatched === 'drop' ? 'drop' : 'return');
  const matched: Rule = [...e.inSet(TAG_SET, TAG_KEY), ...e.changeSet('delete', TAG_SET, TAG_KEY), ...e.count('knocks')];
  // A knock is answered like junk (P20): with `unmatched: pass` the host answers it as for any closed port.
  const handOver: Rule =
    sieve.kind === 'log'
      ? [...e.logTo(sieve.group, sieve.prefix), ...answer]
      : [...(sieve.kind === 'pass' && sieve.to === 'raw' && unmatched === 'drop' ? e.forNobody() : []), ...e.verdict('return')];
  const toKnock: Rule = [...e.protocolIs(UDP), ...e.portIn(knockPort, knockPort), ...e.toChain('jump', 'knock')];
  return [
    {
      name: 'sieve',
      hook: 'raw',
      rules: layout.interfaces.length === 0 ? [toKnock] : layout.interfaces.map((name) => [...e.arrivesOn(name), ...toKnock]),
    },
    {
      name: 'knock',
      hook: undefined,
      rules: [
        sieve.kind === 'log-all'
          ? [...e.forThisHost(), ...e.asLongAsAKnock(), ...e.count('knocks'), ...e.logTo(sieve.group, sieve.prefix), ...answer]
          : [...matched, ...handOver],
        // A knock for another host (we are its router) is not ours to drop (P30c).
        [...e.forThisHost(), ...e.count('junk'), ...answer],
      ],
    },
  ];
}

function gateOnly(layout: GateLayout): readonly Chain[] {
  return [
    {
      name: 'gate',
      hook: 'mangle',
      rules:
        layout.interfaces.length === 0
          ? [[...e.arrivesOn('lo'), ...e.verdict('return')], e.toChain('goto', 'arrived')]
          : layout.interfaces.map((name) => [...e.arrivesOn(name), ...e.toChain('goto', 'arrived')]),
    },
    {
      name: 'arrived',
      hook: undefined,
      rules: [
        [...e.inSet(PROTECTED_SET, PROTECTED_KEY), ...e.toChain('goto', 'here')],
        // Ranges are rules of their own: an interval set looks empty for a moment when the table is replaced (P30e).
        ...layout.protect
          .filter(({ first, last }) => first !== last)
          .map(({ protocol, first, last }) => [
            ...e.protocolIs(PROTOCOL_NUMBER[protocol]),
            ...e.portIn(first, last),
            ...e.toChain('goto', 'here'),
          ]),
      ],
    },
    {
      name: 'here',
      hook: undefined,
      rules: [
        // Our own addresses and those of groups, published (DNAT) ports included; traffic that only passes through is not ours.
        [...e.forThisHost(), ...e.toChain('goto', 'ours')],
        ...layout.networks.map(({ address, prefix }) => [
          ...e.family(address.family),
          ...e.addressIn('daddr', address.bytes, prefix),
          ...e.toChain('goto', 'ours'),
        ]),
      ],
    },
    { name: 'ours', hook: undefined, rules: oursRules(layout) },
    { name: 'openings', hook: undefined, rules: openingRules() },
    {
      name: 'while_granted',
      hook: undefined,
      rules: [
        ...(['ending', 'bound-ending', 'lasting', 'grant'] as const).flatMap((kind) => admitting(kind, e.verdict('return'))),
        ...endConnection(),
      ],
    },
    {
      name: 'cutoff',
      hook: undefined,
      rules: [
        [...e.protocolIs(UDP), ...e.replyDirection(), ...e.verdict('return')],
        // Connections are ended; one that would begin is refused like anybody's, so that a revoked client sees no special answer.
        [...e.connectionState('new'), ...e.toChain('goto', 'refuse')],
        ...endConnection(),
      ],
    },
    { name: 'refuse', hook: undefined, rules: refuseRules(layout.refuse) },
  ];
}

function oursRules(layout: GateLayout): readonly Rule[] {
  const accept = e.verdict('return');
  return [
    ...layout.trusted.map(({ address, prefix }) => [
      ...e.family(address.family),
      ...e.addressIn('saddr', address.bytes, prefix),
      ...accept,
    ]),
    ...VERSIONS.map((version) => [...e.family(version), ...e.inSet(cutSet(version), cutKeyParts(version)), ...e.toChain('goto', 'cutoff')]),
    // Conntrack calls a SYN established too while it remembers a connection of the same source port: whoever had one must knock again.
    [...e.isFirstOfTcp(), ...e.toChain('goto', 'openings')],
    // Answers to what this host began (WireGuard, NTP, IKE from a protected source port).
    [...e.connectionState('established'), ...e.replyDirection(), ...accept],
    // `related` is left out on purpose: ICMP is never protected, and helpers could open ports.
    [...e.connectionState('established'), ...e.hasLabel(ENDING_LABEL), ...e.toChain('goto', 'while_granted')],
    [...e.connectionState('established'), ...accept],
    e.toChain('goto', 'openings'),
  ];
}

/** What begins: only what somebody was let in for. */
function openingRules(): readonly Rule[] {
  const accept = e.verdict('return');
  const label = [...e.setLabel(ENDING_LABEL), ...accept];
  return [
    ...admitting('ending', label),
    ...admitting('bound-ending', label),
    ...admitting('grant', accept),
    ...admitting('bound', accept),
    ...VERSIONS.map((version) => [...e.family(version), ...e.inSet(admittedSet(version), admittedKeyParts(version)), ...accept]),
    // Two sets: what ends with its grant is let in again only while that stands, though conntrack may never hear an answer (UDP).
    ...VERSIONS.map((version) => [
      ...e.family(version),
      ...e.inSet(admittedEndingSet(version), admittedKeyParts(version)),
      ...e.inSet(openingSet('lasting', version), openingKeyParts('lasting', version)),
      ...label,
    ]),
    ...admittingOnce('once', admittedSet, accept),
    ...admittingOnce('once-ending', admittedEndingSet, label),
    e.toChain('goto', 'refuse'),
  ];
}

/** A one-shot: remembers the connection, so that its repeated SYN still connects (P30a). */
function admittingOnce(kind: 'once' | 'once-ending', remembered: typeof admittedSet, then: e.Expressions): readonly Rule[] {
  return VERSIONS.map((version) => [
    ...e.connectionState('new'),
    ...e.family(version),
    ...e.inSet(openingSet(kind, version), openingKeyParts(kind, version)),
    ...e.changeSet('delete', openingSet(kind, version), openingKeyParts(kind, version)),
    ...e.changeSet('add', remembered(version), admittedKeyParts(version)),
    ...then,
  ]);
}

function admitting(kind: Exclude<Opening['kind'], 'once' | 'once-ending'>, then: e.Expressions): readonly Rule[] {
  return VERSIONS.map((version) => [...e.family(version), ...e.inSet(openingSet(kind, version), openingKeyParts(kind, version)), ...then]);
}

function endConnection(): readonly Rule[] {
  return [e.count('ended'), [...e.protocolIs(TCP), ...e.rejectWith('tcp-reset')], e.verdict('drop')];
}

function refuseRules(refuse: GateLayout['refuse']): readonly Rule[] {
  if (refuse === 'drop') return [[...e.count('refused'), ...e.verdict('drop')]];
  return [e.count('refused'), [...e.protocolIs(TCP), ...e.rejectWith('tcp-reset')], e.rejectWith('port-unreachable')];
}
