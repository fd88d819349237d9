// What a junk packet at the knock port costs the kernel, in the sieve and without: npm run bench -- sieve [--quick] [--json FILE]
//
//   attacker ══ one cable to each server ══ link alone │ no firewall │ stateful firewall │ sieve: drop, pass × armed tags
//
// One core sends and, as veth has it, receives as well: the time of N packets is what sending, the cable and the receiver cost together. "link
// alone" is the same packet for somebody else's Ethernet address, which ends before any firewall: what is above it is the receiver's work.
// The variants take turns, round by round. Asserts nothing but that every packet arrived.
import { writeFileSync } from 'node:fs';
import { readCounter } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { createLab } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import { writeCrowd } from './crowd.ts';
import { junkSource, udpFrame } from './flood/frames.ts';
import { Ammunition } from './flood/generator.ts';
import { type Spread, spreadOf } from './flood/statistics.ts';
import { machineLines } from './machine.ts';

const QUICK = process.argv.includes('--quick');
const JSON_FILE = process.argv[process.argv.indexOf('--json') + 1];
const PACKETS = QUICK ? 100_000 : 300_000;
const ROUNDS = QUICK ? 3 : 9;
const KNOCK_PORT = 62_201;
const FRAMES = 1024;
const SEED = 20_261_121;
/** Of a client: 16 slots in each of the four windows that are armed at most. */
const TAGS_OF_CLIENT = 64;
const SOMEBODY_ELSE = '02:00:00:00:00:01';

/** What an ordinary host has: let answers in, drop the rest. It looks connections up before it drops. */
const STATEFUL = `table inet ordinary { chain input {
  type filter hook input priority filter; policy drop
  ct state established,related accept
  iifname "lo" accept
}
}\n`;

type Variant = {
  readonly name: string;
  readonly firewall: 'none' | 'stateful' | 'sieve';
  readonly unmatched: 'drop' | 'pass';
  readonly clients: number;
};

const sieve = (unmatched: 'drop' | 'pass', clients: number): Variant => ({
  name: `sieve, unmatched: ${unmatched}`,
  firewall: 'sieve',
  unmatched,
  clients,
});

const VARIANTS: readonly Variant[] = [
  { name: 'link alone', firewall: 'none', unmatched: 'pass', clients: 0 },
  { name: 'no firewall', firewall: 'none', unmatched: 'pass', clients: 0 },
  { name: 'stateful firewall that drops it', firewall: 'stateful', unmatched: 'drop', clients: 0 },
  ...[0, 1_000, 24_000].flatMap((tags) => [
    sieve('drop', Math.ceil(tags / TAGS_OF_CLIENT)),
    sieve('pass', Math.ceil(tags / TAGS_OF_CLIENT)),
  ]),
];

type Lane = {
  readonly variant: Variant;
  readonly server: Host;
  readonly device: string;
  readonly ammunition: Ammunition;
  readonly nanoseconds: number[];
  readonly postern: Installation | undefined;
};

export type SieveRow = { readonly part: 'sieve'; readonly system: string; readonly tags: number; readonly nanosecondsPerPacket: Spread };

const lab = await createLab({ label: 'cost', deadlineMs: 600_000 });
const lanes: Lane[] = [];
try {
  const attacker = await lab.host('attacker');
  for (const [number, variant] of VARIANTS.entries()) {
    try {
      lanes.push(await openLane(await lab.host(`server${number}`), attacker, variant));
    } catch (error) {
      process.stderr.write(`${variant.name}: left out: ${String(error)}\n`);
    }
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    // Each round in another order: what a variant leaves in the caches meets another one.
    for (const [at] of lanes.entries()) await measure(attacker, lanes[(at + round) % lanes.length]);
  }
  const rows = await Promise.all(lanes.map(rowOf));
  if (process.argv.includes('--json') && JSON_FILE !== undefined) writeFileSync(JSON_FILE, `${JSON.stringify(rows, null, 2)}\n`);
  process.stdout.write(`${(await tableOf(rows)).join('\n')}\n`);
} finally {
  for (const { ammunition, postern } of lanes) {
    ammunition.close();
    await postern?.close();
  }
  await lab.close();
}
process.exit(0);

async function openLane(server: Host, attacker: Host, variant: Variant): Promise<Lane> {
  await lab.link(attacker, server);
  const [mine, theirs] = [attacker.interfaces.at(-1), server.interfaces[0]];
  if (mine === undefined || theirs === undefined) throw new Error('no link');
  // The two ends know each other: no question for an address in between.
  await server.exec(['ip', 'neigh', 'replace', mine.ipv4, 'lladdr', mine.mac, 'dev', theirs.name]);
  const { below, bytes } = junkSource(SEED);
  const to = { link: variant.name === 'link alone' ? SOMEBODY_ELSE : theirs.mac, ipv4: theirs.ipv4 };
  const way = { from: { link: mine.mac, ipv4: mine.ipv4 }, to, port: KNOCK_PORT };
  const frames = Array.from({ length: FRAMES }, () => udpFrame(way, 1024 + below(60_000), bytes(192 + below(257))));
  if (variant.firewall === 'stateful') await server.nft(STATEFUL);
  const postern = variant.firewall === 'sieve' ? await startSieve(server, variant) : undefined;
  return { variant, server, device: mine.name, ammunition: new Ammunition(frames), nanoseconds: [], postern };
}

async function startSieve(server: Host, { unmatched, clients }: Variant): Promise<Installation> {
  const config = { protect: ['tcp/22'], port: KNOCK_PORT, unmatched, capture: 'nflog' };
  const postern = await Installation.create(server, config, { name: 'nobody', clients: [], allow: [] });
  if (clients > 0) writeCrowd(`${postern.folder}/rules.d`, clients, 1);
  await postern.start({ deadlineMs: 60_000 });
  return postern;
}

async function measure(attacker: Host, lane: Lane | undefined): Promise<void> {
  if (lane === undefined) return;
  const before = await arrived(lane);
  const { packets, elapsedMs } = await lane.ammunition.sendCount(attacker, lane.device, PACKETS);
  // The last packets may still be on their way through the receiving half.
  await waitFor(async () => (await arrived(lane)) - before >= packets, { what: `${packets} packets at "${lane.variant.name}"` });
  lane.nanoseconds.push((elapsedMs * 1e6) / packets);
}

/** As the receiving interface, or the sieve, counts them: a packet that was lost on the way would look cheap. */
async function arrived({ server, variant }: Lane): Promise<number> {
  if (variant.firewall === 'sieve') return readCounter((argv, options) => server.exec(argv, options), 'junk');
  const { stdout } = await server.exec(['ip', '-json', '-s', 'link', 'show', 'eth0']);
  const [link] = JSON.parse(stdout) as { stats64: { rx: { packets: number } } }[];
  return link?.stats64.rx.packets ?? 0;
}

async function rowOf({ variant, server, nanoseconds }: Lane): Promise<SieveRow> {
  const listed = variant.firewall === 'sieve' ? (await server.exec(['nft', '-j', 'list', 'set', 'inet', 'postern', 'tags'])).stdout : '';
  return { part: 'sieve', system: variant.name, tags: [...listed.matchAll(/"val":/g)].length, nanosecondsPerPacket: spreadOf(nanoseconds) };
}

async function tableOf(rows: readonly SieveRow[]): Promise<readonly string[]> {
  const median = (name: string): number => rows.find(({ system }) => system === name)?.nanosecondsPerPacket.median ?? Number.NaN;
  const [link, bare] = [median('link alone'), median('no firewall')];
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  return [
    ...(await machineLines(`npm run bench -- sieve${QUICK ? ' --quick' : ''}`)),
    `- ${PACKETS} packets of ${FRAMES} different ones in a round, ${ROUNDS} rounds, the variants in turn`,
    '',
    '| what stands at the knock port | armed tags | time of a packet: median (least – most) | of the whole, to no firewall | the receiver alone | to no firewall |',
    '|---|---|---|---|---|---|',
    ...rows.map(({ system, tags, nanosecondsPerPacket: { median: mid, least, most } }) => {
      const [whole, own] = [percent(mid / bare), `${Math.round(mid - link)} ns`];
      const cells = [
        system,
        tags,
        `${Math.round(mid)} ns (${Math.round(least)} – ${Math.round(most)})`,
        whole,
        own,
        percent((mid - link) / (bare - link)),
      ];
      return `| ${cells.join(' | ')} |`;
    }),
  ];
}
