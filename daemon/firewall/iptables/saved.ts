// Reads what iptables-save prints, and finds in it what is ours. Pure.
import type { GateCounters } from '../firewall.ts';
import { readDatedRule } from './dated-rules.ts';
import type { Entry } from './entries.ts';
import type { Names } from './names.ts';
import { REJECT_MARK } from './rejecting.ts';

export type SavedRule = { readonly chain: string; readonly text: string; readonly packets: number };
export type SavedTable = {
  readonly name: string;
  readonly chains: readonly string[];
  readonly rules: readonly SavedRule[];
  /** Base chains that drop by default. */
  readonly dropping: readonly string[];
};

/** One table, as `iptables-save --counters --table` prints it. */
export function readSaved(name: string, output: string): SavedTable {
  const lines = output.split('\n');
  return {
    name,
    chains: lines.flatMap((line) => /^:(\S+) /.exec(line)?.[1] ?? []),
    dropping: lines.flatMap((line) => /^:(\S+) DROP /.exec(line)?.[1] ?? []),
    rules: lines.flatMap((line) => {
      const match = /^\[(\d+):\d+\] -A (\S+) (.*)$/.exec(line);
      return match === null ? [] : [{ chain: match[2] ?? '', text: (match[3] ?? '').trim(), packets: Number(match[1]) }];
    }),
  };
}

/** Rules in other people's chains that lead into ours. */
export function jumpsToUs(table: SavedTable, names: Names): readonly SavedRule[] {
  const target = new RegExp(`(?:^| )-[jg] ${names.entry}$`);
  return table.rules.filter(({ chain, text }) => !names.isOwn(chain) && target.test(text));
}

export function ownChains(table: SavedTable, names: Names): readonly string[] {
  return table.chains.filter(names.isOwn);
}

export function isGate(table: SavedTable, names: Names): boolean {
  return jumpsToUs(table, names).some(({ chain }) => chain === 'PREROUTING');
}

const NOTE = /--comment "postern made ([A-Za-z/ ]+)"/;

/** The same text as long as nobody changes our chains or the ways into them; entries and counters do not count. */
export function fingerprint(table: SavedTable, names: Names): string {
  // The note of what was made beside the gate is another one after a flush: more had to be made.
  const own = table.rules.filter(({ chain, text }) => names.isOwn(chain) && readDatedRule(text) === undefined && !NOTE.test(text));
  const jumps = jumpsToUs(table, names);
  const lines = [...ownChains(table, names), ...[...own, ...jumps].map(({ chain, text }) => `${chain} ${text}`)];
  return `${table.name}\n${lines.join('\n')}\n${isBypassed(table, names) ? 'bypassed' : ''}`;
}

/** Targets after which a packet still comes to us, or to nobody. Any other may let it through: ACCEPT, TPROXY, NFQUEUE. */
const GOES_ON = /^(?:DROP|LOG|NFLOG|ULOG|AUDIT|TRACE|MARK|CONNMARK|SECMARK|CONNSECMARK|DSCP|TOS|TTL|HL|SET|CLASSIFY|TEE|TCPMSS|CT)$/;

/** A rule of somebody else before ours may accept packets, and they would never come to us. */
export function isBypassed(table: SavedTable, names: Names): boolean {
  for (const { chain, text } of table.rules) {
    if (chain !== 'PREROUTING') continue;
    if (text.endsWith(`-j ${names.entry}`)) return false;
    if (letsThrough(table, text, false)) return true;
  }
  return false;
}

/** Whether a packet that meets this rule may be accepted there and then. */
function letsThrough(table: SavedTable, text: string, inChain: boolean): boolean {
  // Without a target a rule only counts.
  const [, how, target] = /(?:^| )-([jg]) (\S+)/.exec(text) ?? [];
  if (target === undefined || GOES_ON.test(target)) return false;
  if (target === 'RETURN') return !inChain;
  if (!table.chains.includes(target) || (how === 'g' && !inChain)) return true;
  const inside = table.rules.filter(({ chain }) => chain === target);
  // Another Postern's refusals: it rejects them later.
  const refuses = inside.some((rule) => rule.text.includes(REJECT_MARK));
  return inside.some((rule) => !(refuses && rule.text === '-j ACCEPT') && letsThrough(table, rule.text, true));
}

export function datedEntries(table: SavedTable, names: Names): readonly Entry[] {
  return table.rules.flatMap(({ chain, text }) => (names.isOwn(chain) ? (readDatedRule(text) ?? []) : []));
}

export function countersOf(table: SavedTable, names: Names): GateCounters {
  const of = (what: keyof GateCounters): number =>
    table.rules
      .filter(({ chain, text }) => names.isOwn(chain) && text.includes(`--comment "postern ${what}"`))
      .reduce((sum, { packets }) => sum + packets, 0);
  return { knocks: of('knocks'), junk: of('junk'), refused: of('refused'), ended: of('ended') };
}

/** What the gate made that was not there before it: see leftovers.ts. */
export function madeBy(table: SavedTable, names: Names): readonly string[] {
  return table.rules.flatMap(({ chain, text }) => (chain === names.entry ? (NOTE.exec(text)?.[1]?.split(' ') ?? []) : []));
}
