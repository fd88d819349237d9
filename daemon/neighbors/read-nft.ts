// From nft's JSON listing to a ruleset. Pure. Chains of others only: ours are left out by the caller's word.
import { z } from 'zod';
import { parseAddress } from '../../protocol/address.ts';
import { fields, type NamedSets, readKey, readMatch } from './nft-conditions.ts';
import { allOf, type Base, type Chain, type Condition, type Hook, type Rule, type Ruleset, uncertain, type Verdict } from './ruleset.ts';

const Listing = z.object({
  nftables: z.array(
    z.looseObject({
      chain: z
        .looseObject({
          family: z.string(),
          table: z.string(),
          name: z.string(),
          type: z.string().optional(),
          hook: z.string().optional(),
          prio: z.number().optional(),
          policy: z.string().optional(),
          dev: z.union([z.string(), z.array(z.string())]).optional(),
        })
        .optional(),
      rule: z
        .looseObject({ family: z.string(), table: z.string(), chain: z.string(), handle: z.number(), expr: z.array(z.unknown()) })
        .optional(),
      set: z.looseObject({ family: z.string(), table: z.string(), name: z.string(), elem: z.array(z.unknown()).optional() }).optional(),
      map: z.looseObject({ family: z.string(), table: z.string(), name: z.string(), elem: z.array(z.unknown()).optional() }).optional(),
    }),
  ),
});
type Listed = z.infer<typeof Listing>['nftables'][number];

const FAMILIES = ['ip', 'ip6', 'inet', 'netdev'] as const;
const HOOKS: readonly Hook[] = ['ingress', 'prerouting', 'input', 'forward'];

export type NftReading = {
  readonly ruleset: Ruleset;
  /** `family table` of tables with rules that only iptables-save can show. */
  readonly foreign: ReadonlySet<string>;
};

/** Undefined when it is not nft's JSON. */
export function readNft(json: string, texts: NftTexts, ownTable: string): NftReading | undefined {
  const listing = Listing.safeParse(parseJson(json));
  if (!listing.success) return undefined;
  const entries = listing.data.nftables;
  const elements = namedElements(entries);
  const rules = new Map<string, Rule[]>();
  const foreign = new Set<string>();
  for (const { rule } of entries) {
    if (rule === undefined) continue;
    const table = `${rule.family} ${rule.table}`;
    if (rule.expr.some((each) => fields(each)['xt'] !== undefined)) foreign.add(table);
    const key = `nft ${table} ${rule.chain}`;
    const sets: NamedSets = (name) => elements.get(`${table} ${name}`);
    const text = texts.rules.get(`${table} ${rule.chain} ${rule.handle}`) ?? `rule with handle ${rule.handle}`;
    rules.set(key, [...(rules.get(key) ?? []), ...readRule(rule.expr, text, `nft ${table}`, sets)]);
  }
  const ruleset = entries.flatMap(({ chain }) => {
    const family = FAMILIES.find((each) => each === chain?.family);
    if (chain === undefined || family === undefined || (family === 'inet' && chain.table === ownTable)) return [];
    const key = `nft ${family} ${chain.table} ${chain.name}`;
    const { table, name } = chain;
    return [
      {
        key,
        family,
        table,
        name,
        backend: 'nft',
        base: baseOf(chain, texts.devices.get(`${family} ${table} ${name}`)),
        rules: rules.get(key) ?? [],
      } satisfies Chain,
    ];
  });
  return { ruleset, foreign };
}

/** What `nft -a list ruleset` prints and its JSON lacks. */
export type NftTexts = {
  /** What each rule looks like, by `family table chain handle`. */
  readonly rules: ReadonlyMap<string, string>;
  /** The devices of each chain at ingress (nft 1.0.6 leaves them out), by `family table chain`. */
  readonly devices: ReadonlyMap<string, readonly string[]>;
};

export function readTexts(listing: string): NftTexts {
  const rules = new Map<string, string>();
  const devices = new Map<string, readonly string[]>();
  let table = '';
  let chain = '';
  for (const line of listing.split('\n')) {
    const opened = /^(?:table (\S+ \S+)|\tchain (\S+)) \{/.exec(line);
    if (opened?.[1] !== undefined) table = opened[1];
    if (opened?.[2] !== undefined) chain = opened[2];
    const rule = /^\t\t(\S.*) # handle (\d+)$/.exec(line);
    if (rule !== null) rules.set(`${table} ${chain} ${rule[2]}`, (rule[1] ?? '').replaceAll(/ counter packets \d+ bytes \d+/g, ''));
    const ingress = /^\t\ttype \S+ hook ingress devices? (.*) priority /.exec(line);
    if (ingress !== null) devices.set(`${table} ${chain}`, (ingress[1] ?? '').match(/[^\s"={},]+/g) ?? []);
  }
  return { rules, devices };
}

function baseOf(chain: NonNullable<Listed['chain']>, devices: readonly string[] | undefined): Base | undefined {
  const hook = HOOKS.find((each) => each === chain.hook);
  if (hook === undefined) return undefined;
  return {
    hook,
    type: chain.type === 'filter' || chain.type === 'nat' ? chain.type : 'other',
    priority: chain.prio ?? 0,
    policy: chain.policy === 'drop' ? 'drop' : 'accept',
    devices: devices ?? (chain.dev === undefined ? [] : [chain.dev].flat()),
  };
}

function namedElements(entries: readonly Listed[]): ReadonlyMap<string, readonly unknown[]> {
  const named = new Map<string, readonly unknown[]>();
  for (const { set, map } of entries) {
    const one = set ?? map;
    if (one?.elem !== undefined) named.set(`${one.family} ${one.table} ${one.name}`, one.elem);
  }
  return named;
}

/** Statements from left to right: conditions narrow what follows, a verdict ends. A verdict map is as many rules as it has elements. */
function readRule(statements: readonly unknown[], text: string, prefix: string, sets: NamedSets): readonly Rule[] {
  const conditions: Condition[] = [];
  for (const statement of statements) {
    const [name = '', content] = Object.entries(fields(statement))[0] ?? [];
    if (name === 'vmap') return readVmap(fields(content), conditions, text, prefix, sets);
    const verdict = readVerdict(name, content, prefix);
    if (verdict !== undefined) return [{ text, condition: allOf(conditions), verdict }];
    const condition = readCondition(name, content, sets);
    if (condition !== undefined) conditions.push(condition);
  }
  return [{ text, condition: allOf(conditions), verdict: { kind: 'continue' } }];
}

function readCondition(name: string, content: unknown, sets: NamedSets): Condition | undefined {
  switch (name) {
    case 'match':
      return readMatch(content, sets);
    case 'limit':
    case 'ct count':
      // Within the rate that the neighbor allows: a client that knocks is one of few.
      return fields(content)['inv'] === true ? { kind: 'never' } : { kind: 'always' };
    case 'quota':
    case 'xt':
    case 'socket':
    case 'osf':
      return uncertain('other');
    default:
      // counter, log, mangle, set, meter, notrack …: they change nothing about whether the packet goes on.
      return undefined;
  }
}

function readVerdict(name: string, content: unknown, prefix: string): Verdict | undefined {
  switch (name) {
    case 'accept':
    case 'drop':
    case 'reject':
    case 'return':
    case 'continue':
      return { kind: name };
    case 'jump':
    case 'goto':
      return { kind: name, chain: `${prefix} ${String(fields(content)['target'])}` };
    case 'dnat':
    case 'redirect':
      return readTranslation(fields(content));
    case 'queue':
    case 'tproxy':
    case 'fwd':
    case 'synproxy':
      return { kind: 'cannot-tell' };
    case 'xt':
      return fields(content)['type'] === 'target' ? xtTarget(fields(content)['name']) : undefined;
    default:
      return undefined;
  }
}

function readTranslation({ addr, port }: Record<string, unknown>): Verdict {
  const address = addr === undefined ? undefined : parseAddress(String(addr));
  if (address?.ok === false || (port !== undefined && typeof port !== 'number')) return { kind: 'cannot-tell' };
  return { kind: 'translate', address: address?.value, port };
}

/** Targets of iptables in a listing of nft's, which says no more than their names. */
function xtTarget(name: unknown): Verdict | undefined {
  if (name === 'REJECT') return { kind: 'reject' };
  return ['LOG', 'NFLOG', 'MARK', 'CONNMARK', 'CT', 'TCPMSS', 'CHECKSUM', 'TRACE', 'CLASSIFY', 'DSCP', 'SET'].includes(String(name))
    ? undefined
    : { kind: 'cannot-tell' };
}

function readVmap(
  { key, data }: Record<string, unknown>,
  conditions: readonly Condition[],
  text: string,
  prefix: string,
  sets: NamedSets,
): readonly Rule[] {
  const elements = typeof data === 'string' ? sets(data.replace(/^@/, '')) : fields(data)['set'];
  if (!Array.isArray(elements)) return [{ text, condition: allOf([...conditions, uncertain('other')]), verdict: { kind: 'cannot-tell' } }];
  return elements.map((element: unknown) => {
    const [value, then] = Array.isArray(element) ? element : [undefined, undefined];
    const [name = '', content] = Object.entries(fields(then))[0] ?? [];
    const verdict = readVerdict(name, content, prefix) ?? ({ kind: 'cannot-tell' } as const);
    return { text, condition: allOf([...conditions, readKey(key, value, sets)]), verdict };
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
