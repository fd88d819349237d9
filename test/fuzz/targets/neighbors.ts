// Other people's rules, as nft (JSON, then a line "---", then its text) and iptables-save print them: names in them are anybody's. Reading and
// judging must end, and what is said must be plain.
import { adviceFor, adviceForKnocks } from '../../../daemon/neighbors/advice.ts';
import { readIptablesSave } from '../../../daemon/neighbors/read-iptables.ts';
import { readNft, readTexts } from '../../../daemon/neighbors/read-nft.ts';
import type { Ruleset } from '../../../daemon/neighbors/ruleset.ts';
import { fateOfUnwanted, findObstacles, type Surroundings } from '../../../daemon/neighbors/verdicts.ts';
import { publishedPorts } from '../../../daemon/ports/published.ts';
import { safeText } from '../../../daemon/safe-text.ts';
import { type IpAddress, parseAddress, parseNetwork } from '../../../protocol/address.ts';
import type { PortRange } from '../../../protocol/ports.ts';
import { hold, holdPlain } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

function address(text: string): IpAddress {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new TypeError(text);
  return parsed.value;
}

const network = parseNetwork('192.0.2.0/24');
const AROUND: Surroundings = {
  interfaces: [
    { name: 'eth0', own: ['192.0.2.5', '2001:db8::5'].map(address), networks: network.ok ? [network.value] : [], outside: true },
    { name: 'docker0', own: ['172.17.0.1'].map(address), networks: [], outside: false },
  ],
};
const PROTECT: readonly PortRange[] = [
  { protocol: 'tcp', first: 22, last: 22 },
  { protocol: 'udp', first: 5000, last: 5010 },
];

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('utf8');
  if (text.startsWith('*')) return judged('iptables', [...readIptablesSave(text, 4, 'nft'), ...readIptablesSave(text, 6, 'legacy')]);
  const [json = '', listing = ''] = text.split('\n---\n');
  const reading = readNft(json, readTexts(listing), 'postern');
  return reading === undefined ? 'not a listing' : judged('nft', reading.ruleset);
}

function judged(by: string, ruleset: Ruleset): string {
  const findings = findObstacles(ruleset, PROTECT, network.ok ? [network.value] : [], AROUND);
  for (const finding of findings) {
    for (const { first, last } of finding.ports) hold(first >= 1 && first <= last && last <= 65_535, `ports ${first}-${last}`);
    for (const advice of [adviceFor(finding), adviceForKnocks(finding)]) {
      if (advice === undefined) continue;
      // As check prints it.
      holdPlain(safeText(`${advice.message}: ${advice.cure}`, 600), 'advice');
      hold(!/undefined|\[object|NaN/.test(advice.message.replaceAll(/"[^"]*"/g, '')), () => `not a sentence: ${advice.message}`);
    }
  }
  hold(['answered', 'dropped', 'cannot-tell'].includes(fateOfUnwanted(ruleset, 62_201, AROUND)), 'no fate');
  for (const { ports } of publishedPorts(ruleset)) hold(ports.first <= ports.last, 'published ports run backwards');
  return `${by}${ruleset.length === 0 ? ': nothing' : findings.length > 0 ? ': obstacles' : ': free'}`;
}

const CHAIN =
  '{"chain":{"family":"inet","table":"filter","name":"input","handle":1,"type":"filter","hook":"input","prio":0,"policy":"drop"}}';
const rule = (expr: string) => `{"rule":{"family":"inet","table":"filter","chain":"input","handle":7,"expr":[${expr}]}}`;
const PORT = '{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[80,90]}]}}}';
const listing = (...entries: readonly string[]) => `{"nftables":[{"metainfo":{"version":"1.0.6"}},${entries.join()}]}`;
const TEXT =
  'table inet filter { # handle 1\n\tchain input { # handle 1\n\t\ttype filter hook input priority filter; policy drop;\n\t\ttcp dport 22 accept # handle 7\n\t}\n}\n';

export const target: FuzzTarget = {
  about: "listings of other firewalls' rules",
  covers: [
    'daemon/neighbors/read-nft.ts',
    'daemon/neighbors/nft-conditions.ts',
    'daemon/neighbors/read-iptables.ts',
    'daemon/neighbors/evaluate.ts',
    'daemon/neighbors/verdicts.ts',
    'daemon/neighbors/advice.ts',
  ],
  kind: 'text',
  maxBytes: 2500,
  seeds: [
    `${listing(CHAIN, rule(`${PORT},{"accept":null}`))}\n---\n${TEXT}`,
    listing(
      CHAIN,
      rule('{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}'),
      rule('{"jump":{"target":"input"}}'),
    ),
    listing(
      CHAIN,
      rule('{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{"set":[["eth*",{"accept":null}],["lo",{"goto":{"target":"x"}}]]}}}'),
      rule('{"limit":{"rate":5,"per":"second","inv":true}},{"reject":{"type":"tcp reset"}}'),
    ),
    listing(
      CHAIN,
      '{"set":{"family":"inet","table":"filter","name":"s","type":"inet_service","elem":[22,{"prefix":{"addr":"10.0.0.0","len":8}}]}}',
      rule(
        '{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"@s"}},{"xt":{"type":"target","name":"REJECT"}}',
      ),
    ),
    listing(
      CHAIN.replace('"filter","hook":"input"', '"nat","hook":"prerouting"'),
      rule(`${PORT},{"dnat":{"addr":"192.0.2.9","port":22}}`),
      rule('{"match":{"op":"==","left":{"fib":{"result":"type","flags":["daddr"]}},"right":"local"}},{"queue":null}'),
    ),
    '*filter\n:INPUT DROP [0:0]\n:x - [0:0]\n-A INPUT -p tcp -m multiport --dports 22,80:90 -j x\n-A x ! -i lo -m conntrack --ctstate NEW -m comment --comment "a \\"b\\"" -j REJECT --reject-with tcp-reset\n-A INPUT -d 192.0.2.0/24 -g x\nCOMMIT\n',
    '*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -m udp --dport 5000:5010 -j DNAT --to-destination 192.0.2.9:7\n-A PREROUTING -m set --match-set a src -j REDIRECT --to-ports 9\nCOMMIT\n',
  ],
  dictionary: [
    PORT,
    '{"accept":null}',
    '{"drop":null}',
    '"right":',
    '"left":',
    '"set":[',
    '"range":[',
    '"prefix":',
    'null',
    '-A INPUT ',
    ' -j ',
    '! ',
    '--dport ',
    '0:65535',
    '"iifname"',
  ],
  run,
  mustReach: ['not a listing', 'nft: obstacles', 'nft: free', 'iptables: obstacles'],
};
