// The programs that this backend works with: which of them this host has, what they can do here, and how they are run. They are run one at a time.
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { Family } from '../../../protocol/address.ts';
import { type Finished, run } from '../../spawn.ts';
import { FirewallError } from '../firewall.ts';
import { didNothing, notLoaded, notRun, unreadable, whyRefused } from './errors.ts';
import { type Ipv6OfHost, ipv6OfHost } from './ipv6-of-host.ts';
import { absent, removeEmpty } from './leftovers.ts';
import type { Names } from './names.ts';
import { lacksSets, lacksTime, requireModules } from './probing.ts';
import type { Backing } from './ruleset.ts';
import { readSaved, type SavedTable } from './saved.ts';
import { createLines, provable } from './sets.ts';

const DEFAULT_LOCK = '/run/xtables.lock';
// Tunable
const TIME_LIMIT_MS = 30_000;
/** How long to wait while another iptables holds the lock. */
const LOCK_WAIT_S = '10';

/** What the form for nf_tables may make on its way. */
const MANGLE_PLACES = ['mangle', ...['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'].map((hook) => `mangle/${hook}`)];

export type Variant = 'nf_tables' | 'legacy';

/** One family's iptables. */
export type FamilyTools = {
  readonly family: Family;
  readonly variant: Variant;
  readonly read: (table: string) => Promise<SavedTable>;
  /** Loads what iptables-restore --noflush takes. `doing` completes "could not …". Throws FirewallError. */
  readonly load: (text: string, doing: string) => Promise<void>;
  /** Undefined when the kernel takes rules like these, else why not. Nothing of it is left. Throws FirewallError when that cannot be found out. */
  readonly attempt: (rules: readonly string[]) => Promise<string | undefined>;
};

export type Tools = {
  /** IPv4, and IPv6 where the host has it. */
  readonly families: readonly FamilyTools[];
  /** IPv6 has come to this host since then: `adoptIpv6`, or it is not gated. */
  readonly lacksIpv6: () => boolean;
  /** Throws FirewallError where ip6tables cannot be used. */
  readonly adoptIpv6: () => Promise<void>;
  readonly backing: Backing;
  /** Rules can end by the wall clock. */
  readonly matchesTime: boolean;
  /** Names and versions, for people. */
  readonly description: string;
  /** What this host lacks, and what that means; empty when nothing. */
  readonly shortcomings: readonly string[];
  /** Those of the gate; ones that are there stay as they are. */
  readonly createSets: () => Promise<void>;
  /** One `ipset restore -exist`: each line is done or refused by itself. Throws FirewallError. */
  readonly changeSets: (lines: readonly string[], doing: string) => Promise<void>;
  /** What `ipset save` prints of these sets; nothing for those that are not there. */
  readonly readSets: (names: readonly string[]) => Promise<string>;
  /** What `ipset list -t` prints of these sets. */
  readonly readSizes: (names: readonly string[]) => Promise<string>;
};

export type ToolOptions = {
  readonly names: Names;
  /** Takes the lock file of iptables-legacy where the usual one is not ours to open. */
  readonly runtimeFolder: string;
  readonly capacity: number;
  /** Not what `iptables` is on this host, but the one that it was before. */
  readonly flavor: Variant | undefined;
};

/** Throws FirewallError (UNUSABLE: this host cannot run the backend; NO_PERMISSION). */
export async function findTools({ names, runtimeFolder, capacity, flavor }: ToolOptions): Promise<Tools> {
  const env = mayLock() ? {} : { XTABLES_LOCKFILE: join(runtimeFolder, basename(DEFAULT_LOCK)) };
  const call = (argv: readonly string[], stdin = ''): Promise<Finished> => run(argv, { stdin, timeoutMs: TIME_LIMIT_MS, env });
  const versions: string[] = [];
  const families: FamilyTools[] = [];
  const adopt = async (family: Family): Promise<void> => {
    const program = programOf(family, flavor);
    const version = await versionOf(program, call);
    const tools = familyTools(family, program, version.includes('nf_tables') ? 'nf_tables' : 'legacy', call);
    // Whether the table can be had at all, and by us.
    await tools.read('mangle');
    if (flavor === undefined) await requireModules(tools);
    versions.push(version);
    families.push(tools);
  };
  await adopt(4);
  const noIpv6 = await adoptOr(() => adopt(6), ipv6OfHost());
  const changeSets = async (lines: readonly string[], doing: string): Promise<void> => {
    if (lines.length === 0) return;
    const { text, proof } = provable(lines);
    const finished = await ended(call(['ipset', 'restore', '-exist'], text), 'ipset', doing);
    if (finished.code !== 0) throw notLoaded(finished, 'ipset', doing);
    if (proof !== undefined && !finished.stdout.split('\n').includes(proof)) throw didNothing('ipset', doing);
  };
  // The sets belong to the gate that took the place of that one.
  const noSets = flavor === undefined ? await lacksSets(families, changeSets) : 'not asked';
  const noTime = flavor === undefined ? await lacksTime(families) : 'not asked';
  return {
    families,
    lacksIpv6: () => families.length === 1 && ipv6OfHost() === 'on',
    adoptIpv6: () => adopt(6),
    backing: noSets === undefined ? 'sets' : 'rules',
    matchesTime: noTime === undefined,
    createSets: () =>
      changeSets(
        createLines(
          names,
          families.map(({ family }) => family),
          capacity,
        ),
        'make the sets of the gate',
      ),
    description: `${[...new Set(versions)].join(', ')}${noSets === undefined ? ' with ipset' : ''}`,
    shortcomings: [...shortcomings(noSets, noTime), ...noIpv6],
    changeSets,
    readSets: (sets) => (noSets === undefined ? shownSets('save', sets, call) : Promise.resolve('')),
    readSizes: (sets) => shownSets('list -t', sets, call),
  };
}

/** Where IPv6 is off, an ip6tables that cannot be used is no reason to leave IPv4 open. */
async function adoptOr(adopt: () => Promise<void>, ipv6: Ipv6OfHost): Promise<readonly string[]> {
  if (ipv6 === 'none') return [];
  try {
    await adopt();
    return [];
  } catch (error) {
    if (!(error instanceof FirewallError) || ipv6 === 'on') throw error;
    return [`IPv6 is off on this host, and only IPv4 is gated: ${error.message}: ${error.cure}`];
  }
}

/** Of those that are there. Read in full or not at all: what is missing here would be taken for closed. */
async function shownSets(how: 'save' | 'list -t', sets: readonly string[], call: Call): Promise<string> {
  const doing = 'read the grants';
  const listed = await ended(call(['ipset', 'list', '-n']), 'ipset', doing);
  if (listed.code !== 0) throw notLoaded(listed, 'ipset', doing);
  const there = new Set(listed.stdout.split('\n'));
  const wanted = sets.filter((name) => there.has(name));
  if (wanted.length === 0) return '';
  const finished = await ended(call(['ipset', '-'], wanted.map((name) => `${how} ${name}\n`).join('')), 'ipset', doing);
  // Run like this it ends with 0 whatever happened.
  if (finished.code !== 0 || finished.stderr.trim() !== '') throw notLoaded(finished, 'ipset', doing);
  return finished.stdout;
}

/** The lock that everybody else takes, which iptables opens for reading. */
function mayLock(): boolean {
  if (process.geteuid?.() === 0) return true;
  try {
    accessSync(DEFAULT_LOCK, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

type Call = (argv: readonly string[], stdin?: string) => Promise<Finished>;

/** As update-alternatives knows them. */
function programOf(family: Family, flavor: Variant | undefined): string {
  const program = family === 4 ? 'iptables' : 'ip6tables';
  return flavor === undefined ? program : `${program}-${flavor === 'legacy' ? 'legacy' : 'nft'}`;
}

function basename(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

async function versionOf(program: string, call: Call): Promise<string> {
  const { code, stdout } = await ended(call([program, '--version']), program, 'use the iptables backend');
  if (code !== 0) throw new FirewallError('UNUSABLE', `${program} --version ended with ${code}`, 'repair the package iptables');
  return stdout.trim().slice(0, 60);
}

function familyTools(family: Family, program: string, variant: Variant, call: Call): FamilyTools {
  return {
    family,
    variant,
    read: async (table) => {
      const finished = await ended(call([`${program}-save`, '--counters', '--table', table]), `${program}-save`, 'read the rules');
      if (finished.code !== 0) throw notLoaded(finished, `${program}-save`, 'read the rules');
      if (/^# Table `.*' is incompatible/m.test(finished.stdout)) throw unreadable(program, table, 'read the rules');
      return readSaved(table, finished.stdout);
    },
    load: async (text, doing) => {
      const argv = [`${program}-restore`, '--noflush', '--counters', '--wait', LOCK_WAIT_S];
      const finished = await ended(call(argv, text), `${program}-restore`, doing);
      if (finished.code !== 0) throw notLoaded(finished, `${program}-restore`, doing);
    },
    attempt: async (rules) => {
      const chain = `TRIAL-${process.pid}`;
      const lines = ['*mangle', `:${chain} - [0:0]`, ...rules.map((rule) => `-A ${chain} ${rule}`), 'COMMIT'];
      const argv = [`${program}-restore`, '--noflush', '--wait', LOCK_WAIT_S];
      const made = variant === 'legacy' ? [] : await absent(family, MANGLE_PLACES);
      const text = [...lines, '*mangle', `-F ${chain}`, `-X ${chain}`, 'COMMIT', ''].join('\n');
      const finished = await ended(call(argv, text), `${program}-restore`, 'use the iptables backend');
      if (made.length > 0) await removeEmpty(family, made);
      return finished.code === 0 ? undefined : whyRefused(finished, `${program}-restore`);
    },
  };
}

function shortcomings(noSets: string | undefined, noTime: string | undefined): readonly string[] {
  const rules = noTime === undefined ? 'rules that end by the wall clock' : 'rules that posternd takes out when their time is over';
  const afterKill = noTime === undefined ? '' : ': after kill -9 they stand until the next start';
  return [
    ...(noSets === undefined ? [] : [`without ipset (${noSets}) grants are ${rules}${afterKill}`]),
    ...(noSets === undefined && noTime !== undefined
      ? [`iptables cannot match the time (${noTime}): after kill -9 grants for a source port stand until the next start`]
      : []),
  ];
}

async function ended(finished: Promise<Finished>, program: string, doing: string): Promise<Finished> {
  try {
    return await finished;
  } catch (error) {
    throw notRun(error, program, doing);
  }
}
