// The one table of what differs between the firewall backends, each with its reason: what one cannot do, whose tests are left out there (that it
// refuses or says so is shown by iptables-limits.test.ts), and which of the black-box suites are not run once more for it.

export const BACKENDS = ['nftables', 'iptables-nft', 'iptables-legacy', 'iptables-without-ipset'] as const;
export type Backend = (typeof BACKENDS)[number];
type Iptables = Exclude<Backend, 'nftables'>;

const IPTABLES: readonly Iptables[] = ['iptables-nft', 'iptables-legacy', 'iptables-without-ipset'];

type Lack = { readonly why: string; readonly where: readonly Backend[] };

export const LACKS = {
  'one-shots': { why: 'iptables can admit an address, not exactly one connection', where: IPTABLES },
  sieve: { why: 'iptables cannot look a tag up: every datagram that is as long as a knock goes to the daemon', where: IPTABLES },
  'a table of its own': { why: 'the chains stand in tables that others flush: the gate is back within a second', where: IPTABLES },
  'resets in transit': { why: 'the mangle table cannot answer: what is cut on its way through this host starves', where: IPTABLES },
  'parts of a second': { why: 'ipset and the time match count whole seconds: an opening may end up to one second early', where: IPTABLES },
  sets: { why: 'without ipset every grant is a rule: nothing can be full', where: ['iptables-without-ipset'] },
} as const satisfies Readonly<Record<string, Lack>>;

export type Ability = keyof typeof LACKS;

const SAME_RULES = 'the same rules as with iptables-nft; what differs is how they are loaded, watched, read and locked';
const NO_SETS = 'sets or rules make no difference to it';
const COMMANDS = 'about commands and files; what they do to the gate, e2e-admin and e2e-faults show';
const CAPTURE = 'about the capture; with iptables the same NFLOG rule, and e2e-udp is run once';

const MATRIX = 'run by e2e-iptables-*-matrix.test.ts, as it takes a file for each';

/** The black-box suites (test/integration/e2e-NAME.test.ts): all run for nftables, and for the others unless a reason stands here. */
export const SUITES: Readonly<Record<string, Partial<Record<Iptables, string>>>> = {
  open: {},
  grants: {},
  faults: {},
  layout: { 'iptables-without-ipset': NO_SETS },
  try: { 'iptables-without-ipset': NO_SETS },
  time: { 'iptables-legacy': SAME_RULES },
  replay: { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  admin: { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  lifecycle: { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  silence: { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  hooks: { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  clients: { 'iptables-nft': COMMANDS, 'iptables-legacy': COMMANDS, 'iptables-without-ipset': COMMANDS },
  matrix: { 'iptables-nft': MATRIX, 'iptables-legacy': MATRIX, 'iptables-without-ipset': NO_SETS },
  'one-address': { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  secrets: { 'iptables-nft': COMMANDS, 'iptables-legacy': COMMANDS, 'iptables-without-ipset': COMMANDS },
  udp: { 'iptables-legacy': SAME_RULES, 'iptables-without-ipset': NO_SETS },
  raw: {
    'iptables-nft': `${CAPTURE}; raw is refused where somebody insists on unmatched: drop: iptables-limits; else e2e-iptables-nft-matrix`,
    'iptables-legacy': CAPTURE,
    'iptables-without-ipset': CAPTURE,
  },
};

/** Those that are run for a backend; of a list that is too long for one file, one of several parts. */
export function suitesOf(backend: Iptables, { part, of } = { part: 0, of: 1 }): readonly string[] {
  return Object.keys(SUITES)
    .filter((suite) => SUITES[suite]?.[backend] === undefined)
    .filter((_, at) => at % of === part);
}
