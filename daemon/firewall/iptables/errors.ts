// What a failure of iptables or ipset means for the administrator: a stable code, one sentence, a cure. Decides nothing else.
import { type Finished, SpawnError } from '../../spawn.ts';
import { FirewallError } from '../firewall.ts';

type Meaning = { readonly code: string; readonly text: string; readonly cure: string };

const RIGHTS: Meaning = {
  code: 'NO_PERMISSION',
  text: 'not permitted to change the firewall',
  cure: 'run as root, or with CAP_NET_ADMIN and CAP_NET_RAW (iptables and its set match need both)',
};

/** In the order in which they are looked for in what the program said. */
const MEANINGS: readonly (readonly [RegExp, Meaning])[] = [
  [/you must be root|Permission denied|Operation not permitted|Can't open socket to ipset/i, RIGHTS],
  [/Hash is full/, { code: 'SET_FULL', text: 'a set of the gate is full', cure: 'revoke grants, or wait until some have ended' }],
  [
    /in use by a kernel component/,
    { code: 'SET_IN_USE', text: 'a set is in use by rules', cure: 'look which: "iptables-save | grep match-set"' },
  ],
  [
    /holding the xtables lock/,
    { code: 'LOCKED', text: 'another iptables holds the lock', cure: 'look who does: "fuser /run/xtables.lock"' },
  ],
  [
    /set with the same name already exists/,
    { code: 'SET_DIFFERS', text: 'a set of that name is there already, but of another kind', cure: 'run `posternd gate down` first' },
  ],
  [
    /set with the given name does not exist|Set .* doesn't exist|Chain .* does not exist|No chain\/target\/match by that name/,
    { code: 'GATE_MISSING', text: 'the gate is not there, or not the one that was installed', cure: 'run `posternd gate up`' },
  ],
  [
    /initialize .*table|Table does not exist|Couldn't load|Protocol not available|Cannot open session to kernel|protocol versions/i,
    {
      code: 'UNUSABLE',
      text: 'this kernel lacks what the gate needs',
      cure: 'load the modules ip_tables, iptable_mangle, ip6table_mangle, nf_conntrack, xt_NFLOG, xt_multiport, xt_addrtype, xt_connlabel and ip_set_hash_ipport',
    },
  ],
];

/** The program ran and said no. `doing` completes "could not …". */
export function notLoaded({ stderr, code }: Finished, program: string, doing: string): FirewallError {
  const said = stderr.split('\n').filter((line) => line !== '' && !/^(?:#? ?Warning|Try `|Error occurred)/.test(line));
  const first = JSON.stringify((said[0] ?? `exit code ${code}`).slice(0, 200));
  const unknown: Meaning = { code: 'REFUSED', text: `${program} refused`, cure: 'see the kernel log (`dmesg`)' };
  const meaning = MEANINGS.find(([pattern]) => pattern.test(stderr))?.[1] ?? unknown;
  return new FirewallError(meaning.code, `could not ${doing}: ${meaning.text} (${program}: ${first})`, meaning.cure);
}

/** Why rules that were tried are not taken. Throws FirewallError where that says nothing about the kernel. */
export function whyRefused(finished: Finished, program: string): string {
  const { stderr } = finished;
  if (/Can't open socket to ipset/.test(stderr)) return 'CAP_NET_RAW is missing, which iptables needs to ask for sets: see docs/install.md';
  const error = notLoaded(finished, program, 'use the iptables backend');
  if (error.code === 'LOCKED' || error.code === 'NO_PERMISSION') throw error;
  const said = stderr.split('\n').filter((line) => line.trim() !== '' && !/^(?:#? ?Warning|Try `|Error occurred)/.test(line));
  return said.join(' ').slice(0, 200) || 'it is refused';
}

/** iptables-save shows nothing of a table that holds rules of nft's own kind, and ours in it could not be found again. */
export function unreadable(program: string, table: string, doing: string): FirewallError {
  const family = program.startsWith('ip6') ? 'ip6' : 'ip';
  return new FirewallError(
    'UNREADABLE',
    `could not ${doing}: table ${family} ${table} holds rules made with nft that iptables cannot read`,
    `set firewall: nftables, or move those rules to a table of their own: "nft list table ${family} ${table}"`,
  );
}

/** The program ended with 0 and did not do what it was told. */
export function didNothing(program: string, doing: string): FirewallError {
  return new FirewallError(
    'FAILED',
    `could not ${doing}: ${program} did nothing, and said nothing`,
    `see whether ${program} works by hand`,
  );
}

/** The program could not be run to its end. */
export function notRun(error: unknown, program: string, doing: string): FirewallError {
  if (!(error instanceof SpawnError)) throw error;
  const tool = program.startsWith('ipset') ? 'ipset' : 'iptables';
  if (error.code === 'MISSING')
    return new FirewallError('UNUSABLE', `could not ${doing}: ${program} is not installed`, `install it: apt install ${tool}`, error);
  if (error.code === 'FAILED')
    return new FirewallError(
      'UNUSABLE',
      `could not ${doing}: ${program} cannot be run (${error.message})`,
      `install it: apt install ${tool}`,
      error,
    );
  return new FirewallError('FAILED', `could not ${doing}: ${error.message}`, `see whether ${tool} works by hand`, error);
}

export function tooLate(): FirewallError {
  return new FirewallError(
    'TOO_LATE',
    'could not open: other changes of the firewall took so long that the time of the grant was over',
    'look what holds them up: "fuser /run/xtables.lock"',
  );
}

export function noOneShot(): FirewallError {
  return new FirewallError(
    'NO_ONE_SHOT',
    'one-shot grants need nftables, and this host runs the iptables backend',
    'set firewall: nftables, or remove "once" from the rule',
  );
}
