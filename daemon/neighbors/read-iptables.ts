// From iptables-save to a ruleset. Pure. For iptables-legacy, which nft does not see, and for rules that nft cannot show in full.
import { parseAddress, parseNetwork } from '../../protocol/address.ts';
import {
  ALWAYS,
  allOf,
  anyOf,
  type Base,
  type Chain,
  type Condition,
  NEVER,
  not,
  portsFrom,
  type Rule,
  type Ruleset,
  uncertain,
  type Verdict,
} from './ruleset.ts';

/** Priorities as ip_tables registers its tables (linux/netfilter_ipv4.h). */
const TABLES: Readonly<Record<string, { readonly priority: number; readonly type: Base['type'] }>> = {
  raw: { priority: -300, type: 'filter' },
  mangle: { priority: -150, type: 'filter' },
  nat: { priority: -100, type: 'nat' },
  filter: { priority: 0, type: 'filter' },
  security: { priority: 50, type: 'filter' },
};
const HOOKS: Readonly<Record<string, Base['hook']>> = { PREROUTING: 'prerouting', INPUT: 'input', FORWARD: 'forward' };
/** Our own chains in an iptables gate. */
const OURS = /^POSTERN/;
/** Targets after which the packet goes on with the next rule. */
const PASSING: ReadonlySet<string> = new Set(
  'LOG NFLOG ULOG MARK CONNMARK CT NOTRACK TCPMSS CHECKSUM TRACE CLASSIFY DSCP TOS TTL HL SET SECMARK CONNSECMARK AUDIT TEE RATEEST'.split(
    ' ',
  ),
);

type Draft = { readonly chain: Omit<Chain, 'rules'>; readonly rules: Rule[] };

export function readIptablesSave(text: string, version: 4 | 6, backend: Chain['backend']): Ruleset {
  const family = version === 4 ? 'ip' : 'ip6';
  const chains = new Map<string, Draft>();
  let table = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1).trim();
    const key = (name: string): string => `${backend} ${family} ${table} ${name}`;
    const declared = /^:(\S+) (\S+)/.exec(line);
    if (declared !== null) {
      const [, name = '', policy = ''] = declared;
      if (OURS.test(name)) continue;
      chains.set(key(name), { chain: { key: key(name), family, table, name, backend, base: baseOf(table, name, policy) }, rules: [] });
    } else if (line.startsWith('-A ')) {
      const [, name = '', ...words] = split(line);
      const rule = readRule(words, line, version, key);
      if (rule !== undefined) chains.get(key(name))?.rules.push(rule);
    }
  }
  return [...chains.values()].map(({ chain, rules }) => ({ ...chain, rules }));
}

function baseOf(table: string, name: string, policy: string): Base | undefined {
  const hook = HOOKS[name];
  const known = TABLES[table];
  if (hook === undefined || known === undefined || policy === '-') return undefined;
  return { hook, ...known, policy: policy === 'DROP' ? 'drop' : 'accept', devices: [] };
}

function readRule(words: readonly string[], text: string, version: 4 | 6, key: (name: string) => string): Rule | undefined {
  const options = inOptions(words);
  const at = options.findIndex(({ name }) => name === '-j' || name === '-g');
  const target = options[at];
  const name = target?.values[0];
  if (name !== undefined && OURS.test(name)) return undefined;
  const asked = at < 0 ? options : options.slice(0, at);
  const condition = allOf(
    asked.map((option) => (option.negated ? not(conditionOf(option, asked, version)) : conditionOf(option, asked, version))),
  );
  if (target === undefined || name === undefined) return { text, condition, verdict: { kind: 'continue' } };
  return {
    text,
    condition,
    verdict: target.name === '-g' ? { kind: 'goto', chain: key(name) } : verdictOf(name, options.slice(at + 1), key),
  };
}

function verdictOf(target: string, options: readonly Option[], key: (name: string) => string): Verdict {
  if (PASSING.has(target)) return { kind: 'continue' };
  switch (target) {
    case 'ACCEPT':
      return { kind: 'accept' };
    case 'DROP':
      return { kind: 'drop' };
    case 'REJECT':
      return { kind: 'reject' };
    case 'RETURN':
      return { kind: 'return' };
    case 'DNAT':
    case 'REDIRECT':
      return translationOf(options);
    case 'QUEUE':
    case 'NFQUEUE':
    case 'TPROXY':
    case 'SYNPROXY':
    case 'NETMAP':
    case 'CLUSTERIP':
      return { kind: 'cannot-tell' };
    default:
      return { kind: 'jump', chain: key(target) };
  }
}

function translationOf(options: readonly Option[]): Verdict {
  const to = options.find(({ name }) => name === '--to-destination' || name === '--to-ports')?.values[0] ?? '';
  const match = /^(?:\[([^\]]+)\]|([\d.]*|[0-9a-f:]+:[0-9a-f:]+))(?::?(\d+))?$/.exec(to);
  const host = match?.[1] ?? match?.[2] ?? '';
  if (/^\d+$/.test(to)) return { kind: 'translate', address: undefined, port: Number(to) };
  const address = parseAddress(host);
  if (!address.ok) return { kind: 'cannot-tell' };
  return { kind: 'translate', address: address.value, port: match?.[3] === undefined ? undefined : Number(match[3]) };
}

type Option = { readonly name: string; readonly values: readonly string[]; readonly negated: boolean };

/** `! -i eth0 -p tcp -m limit …`: each option with what follows it; an exclamation mark turns the next one. */
function inOptions(words: readonly string[]): readonly Option[] {
  const options: { name: string; values: string[]; negated: boolean }[] = [];
  let negated = false;
  for (const word of words) {
    if (word === '!') negated = true;
    else if (/^--?[a-z]/i.test(word)) {
      options.push({ name: word, values: [], negated });
      negated = false;
    } else options.at(-1)?.values.push(word);
  }
  return options;
}

/** `all`: the rule's other options, as the meaning of some hangs on the module that they belong to. */
function conditionOf({ name, values }: Option, all: readonly Option[], version: 4 | 6): Condition {
  const [value = ''] = values;
  switch (name) {
    case '-m':
    case '--comment':
      return ALWAYS;
    case '-p':
      return value === 'all' ? ALWAYS : { kind: 'protocol', name: value === '6' ? 'tcp' : value === '17' ? 'udp' : value };
    case '-i':
      return { kind: 'arrives-on', name: value.replace(/\+$/, '*') };
    case '-o':
      return { kind: 'leaves-by', name: value.replace(/\+$/, '*') };
    case '-s':
      return isNobody(value) ? NEVER : uncertain('source');
    case '-d': {
      const network = parseNetwork(value);
      return network.ok ? { kind: 'to', network: network.value } : uncertain('destination');
    }
    case '--dport':
    case '--dports':
    case '--ports':
      return anyOf(value.split(',').map(portsOf));
    case '--sport':
    case '--sports':
    case '--src-range':
    case '--mac-source':
    case '--src-cc':
    case '--source-country':
    case '--src-type':
      return uncertain('source');
    case '--ctstate':
    case '--state':
      return value.split(',').includes('NEW') ? ALWAYS : value.split(',').includes('DNAT') ? { kind: 'translated' } : NEVER;
    case '--ctstatus':
      return value === 'DNAT' ? { kind: 'translated' } : uncertain('other');
    case '--ctdir':
      return value === 'ORIGINAL' ? ALWAYS : NEVER;
    case '--dst-type':
      return anyOf(value.split(',').map((type) => ({ kind: 'to-type', type: type.toLowerCase() })));
    case '--limit-iface-in':
      return ALWAYS;
    case '--syn':
      return { kind: 'protocol', name: 'tcp' };
    case '--tcp-flags':
      return value.split(',').includes('SYN') ? (values[1] === 'SYN' ? ALWAYS : NEVER) : values[1] === 'NONE' ? ALWAYS : NEVER;
    case '--pkt-type':
      return value === 'unicast' ? ALWAYS : NEVER;
    case '--icmp-type':
    case '--icmpv6-type':
      return NEVER;
    case '--match-set':
      return values[1]?.startsWith('src') === true ? uncertain('source') : uncertain('other');
    case '--timestart':
    case '--timestop':
    case '--weekdays':
    case '--monthdays':
    case '--datestart':
    case '--datestop':
      return uncertain('time');
    default:
      return rateOf(name, all) ?? (SILENT.test(name) ? ALWAYS : uncertain(version === 6 && name.startsWith('--rt') ? 'source' : 'other'));
  }
}

/** Details of a module whose condition another option has told already. */
const SILENT =
  /^--(?:limit-burst|hashlimit-(?:burst|mode|name|srcmask|dstmask|htable-.*|rate-.*)|connlimit-(?:mask|saddr|daddr)|seconds|hitcount|rttl|name|mask|rsource|rdest|kerneltz|contiguous|utc|reap|return-nomatch|validmark|loose|accept-local)$/;

/** Rates: a client that knocks is one of few, within what the neighbor allows. */
function rateOf(name: string, all: readonly Option[]): Condition | undefined {
  const has = (other: string): boolean => all.some((option) => option.name === other);
  if (['--limit', '--hashlimit-upto', '--hashlimit', '--connlimit-upto', '--set'].includes(name)) return ALWAYS;
  if (['--hashlimit-above', '--connlimit-above'].includes(name)) return NEVER;
  // With a count of hits it is a rate; without, the list decides that others may have put sources on (older ways of knocking, bans).
  if (name === '--update' || name === '--rcheck') return has('--hitcount') ? NEVER : uncertain('source');
  if (name === '--remove') return uncertain('source');
  // The reverse path: what a client sends comes by the way that leads back to it.
  if (name === '--invert' && all.some((option) => option.values.includes('rpfilter'))) return NEVER;
  return undefined;
}

function portsOf(text: string): Condition {
  const match = /^(\d*)(:?)(\d*)$/.exec(text);
  if (match === null || text === '') return uncertain('other');
  const first = match[1] === '' ? 0 : Number(match[1]);
  return portsFrom(first, match[2] === '' ? first : match[3] === '' ? 65_535 : Number(match[3]));
}

function isNobody(network: string): boolean {
  return /^127\.|^22[4-9]\.|^2[345]\d\.|^::1\/128$|^ff/.test(network);
}

/** Words as iptables-save quotes them: "…" with \" and \\ inside. Free text never looks like an option. */
function split(line: string): readonly string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map((match) => match[2] ?? (match[1] ?? '').replace(/^[-!]+/, ''));
}
