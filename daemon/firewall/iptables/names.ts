// How the parts of the gate are called in the kernel, from the one name that the configuration gives. Pure.
import type { Family } from '../../../protocol/address.ts';

/** Chains of the gate: the entry has the bare name, the others a suffix. What each does stands in ruleset.ts. */
export const SUFFIXES = ['KNOCK', 'SEEN', 'ARRIVED', 'HERE', 'OURS', 'CUTS', 'CUT', 'WHILE', 'OPEN', 'ENDING', 'END', 'REFUSE'] as const;
export type Suffix = (typeof SUFFIXES)[number];

/** The sets of the gate, one of each family. */
export const SET_KINDS = ['grant', 'ending', 'cut', 'live'] as const;
export type SetKind = (typeof SET_KINDS)[number];

// Fixed by the kernel: 28 bytes of a chain's name, 31 of a set's.
/** What a name may have beside its suffix. */
const LONGEST_NAME = 20;

/** Chains and targets that iptables has a meaning for: a chain of ours by such a name would be taken for them, or they for ours. */
const TAKEN: ReadonlySet<string> = new Set(
  (
    'PREROUTING INPUT FORWARD OUTPUT POSTROUTING ACCEPT DROP QUEUE RETURN AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT ' +
    'DNPT DSCP ECN HL HMARK IDLETIMER LED LOG MARK MASQUERADE MIRROR NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SAME SECMARK SET ' +
    'SNAT SNPT SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG'
  ).split(' '),
);

/** What is wrong with a name for chains and sets, and the cure; undefined: nothing. */
export function nameProblem(table: string): { readonly what: string; readonly cure: string } | undefined {
  if (table.length > LONGEST_NAME) return { what: 'is too long for iptables', cure: `use at most ${LONGEST_NAME} characters` };
  if (TAKEN.has(table.toUpperCase()))
    return { what: `is what iptables calls something else (${table.toUpperCase()})`, cure: 'choose another name' };
  return undefined;
}

export type Names = {
  /** The chain that PREROUTING jumps to, and the beginning of every other chain's name. */
  readonly entry: string;
  readonly chain: (suffix: Suffix) => string;
  /** Whether a chain is one of this gate, of this version or an earlier one. */
  readonly isOwn: (chain: string) => boolean;
  readonly set: (kind: SetKind, family: Family) => string;
};

/** `table` has a-z, 0-9 and _ only: no other gate's names begin with ours and a dash. */
export function namesOf(table: string): Names {
  const entry = table.toUpperCase();
  return {
    entry,
    chain: (suffix) => `${entry}-${suffix}`,
    isOwn: (chain) => chain === entry || chain.startsWith(`${entry}-`),
    set: (kind, family) => `${table}-${kind}${family}`,
  };
}
