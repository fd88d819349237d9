// Decides which backend makes the gate, by what the configuration says and this kernel can do, with one sentence that says which and why. A backend that
// takes another's place removes what that one left: two gates would both have to open.
import { dirname } from 'node:path';
import type { SieveFacts } from '../capture/auto.ts';
import type { Config } from '../config/config.ts';
import { gateLayout, sieveFor } from '../layout.ts';
import { type Firewall, FirewallError } from './firewall.ts';
import { openIptables } from './iptables/iptables.ts';
import { openNftables } from './nftables/nftables.ts';
import { type Trial, tryGate } from './nftables/trial.ts';
import { noFirewall } from './none.ts';
import { replacing } from './replacing.ts';

export type ChosenFirewall = {
  readonly firewall: Firewall;
  /** Whether it can log knocks for a capture. */
  readonly sieve: SieveFacts;
  /** For the log and for `check`: which, and why. */
  readonly sentence: string;
  /** What this host lacks for all that the gate can be. */
  readonly shortcomings: readonly string[];
};

export type ChooseOptions = {
  readonly onTrouble?: (text: string) => void;
  /** See NftablesOptions. */
  readonly ownership?: 'auto' | 'plain';
};

/** Changes nothing yet. Throws FirewallError; UNUSABLE and KERNEL_TOO_OLD: this host cannot run what the configuration asks for. */
export async function chooseFirewall(
  config: Config,
  { onTrouble = () => undefined, ownership = 'auto' }: ChooseOptions = {},
): Promise<ChosenFirewall> {
  if (config.firewall === 'none') {
    const sieve = { canLog: false, why: 'without a firewall nothing logs knocks' } as const;
    return { firewall: noFirewall(), sieve, sentence: 'firewall none: the configuration says so', shortcomings: [] };
  }
  if (config.firewall === 'iptables') return chooseIptables(config, 'the configuration says so', onTrouble);
  const trial = await tryGate(config.table, gateLayout(config, sieveFor(config, config.nflogGroup), 0));
  if (trial.kind !== 'refuses') return chooseNftables(config, trial, ownership, onTrouble);
  if (config.firewall === 'nftables' || !isUnable(trial.error)) throw trial.error;
  try {
    return await chooseIptables(config, `nf_tables cannot be used here (${trial.error.message})`, onTrouble);
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    throw new FirewallError(
      error.code,
      `neither nftables nor iptables can be used here: ${trial.error.message}; ${error.message}`,
      `${trial.error.cure}, or ${error.cure}`,
      error,
    );
  }
}

/** Only what the kernel cannot do is a reason for the other backend: missing rights would be missing there too. */
function isUnable(error: FirewallError): boolean {
  return error.code === 'KERNEL_TOO_OLD' || error.code === 'NATIVE_MISSING';
}

async function chooseNftables(
  config: Config,
  trial: Exclude<Trial, { kind: 'refuses' }>,
  ownership: 'auto' | 'plain',
  onTrouble: (text: string) => void,
): Promise<ChosenFirewall> {
  const firewall = await openNftables({ table: config.table, onTrouble, ownership });
  const why = config.firewall === 'auto' ? 'this kernel can' : 'the configuration says so';
  const { table } = config;
  const own = { backend: 'nftables', runtimeFolder: dirname(config.control), table, onTrouble } as const;
  if (trial.kind === 'takes') {
    const owned = trial.owned ? 'others cannot flush or change the table' : 'repaired at once when others flush it';
    const sentence = `firewall nftables, table inet ${table}: ${why}, ${owned}`;
    return { firewall: replacing(firewall, own), sieve: { canLog: true, marks: true }, sentence, shortcomings: [] };
  }
  const why_ = 'this kernel has no sets keyed by packet content, so the sieve is left out';
  return {
    firewall: replacing(firewall, own),
    sieve: { canLog: false, why: why_ },
    sentence: `firewall nftables without the sieve, table inet ${table}: ${why}`,
    shortcomings: [`${why_}: junk then reaches the daemon; a kernel from 5.10 on has them`],
  };
}

async function chooseIptables(config: Config, why: string, onTrouble: (text: string) => void): Promise<ChosenFirewall> {
  const { table } = config;
  const runtimeFolder = dirname(config.control);
  const firewall = await openIptables({ table, runtimeFolder, onTrouble });
  const legacy = firewall.tools.families.some(({ variant }) => variant === 'legacy');
  const backend = legacy ? 'iptables legacy' : 'iptables nf_tables';
  return {
    firewall: replacing(firewall, { backend, runtimeFolder, table, onTrouble }),
    sieve: { canLog: true, marks: false },
    sentence: `firewall ${firewall.tools.description}, chains ${table.toUpperCase()}: ${why}`,
    shortcomings: firewall.tools.shortcomings,
  };
}
