// What a junk packet at the knock port costs the kernel, in the sieve and without: npm run bench -- sieve [--quick]
//
//   attacker ══ one cable to each server ══ link alone │ no firewall │ stateful firewall │ sieve: drop, pass × armed tags
//
// One core sends and, as veth has it, receives as well: the time of N packets is what sending, the cable and the receiver cost together. "link
// alone" is the same packet for somebody else's Ethernet address, which ends before any firewall: what is above it is the receiver's work.
// The variants take turns, round by round. Asserts nothing but that every packet arrived.
import { readCounter } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { createLab } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import { writeCrowd } from './crowd.ts';
import { asCount, median } from './figures.ts';
import { junkSource, udpFrame } from './flood/frames.ts';
import { Ammunition } from './flood/generator.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import type { Section } from './section.ts';
import { firstLine } from './systems/arena.ts';

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
  { name: 'stateful firewall', firewall: 'stateful', unmatched: 'drop', clients: 0 },
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

type Row = { readonly system: string; readonly tags: number; readonly nanoseconds: readonly number[] };

async function measureAll({ isQuick }: PartOptions): Promise<Section> {
  const [packets, rounds] = isQuick ? [100_000, 3] : [300_000, 9];
  const lab = await createLab({ label: 'cost', deadlineMs: 600_000 });
  const lanes: Lane[] = [];
  const leftOut: string[] = [];
  try {
    const attacker = await lab.host('attacker');
    for (const [number, variant] of VARIANTS.entries()) {
      try {
        const server = await lab.host(`server${number}`);
        await lab.link(attacker, server);
        lanes.push(await openLane(server, attacker, variant));
      } catch (error) {
        leftOut.push(`${variant.name}: ${firstLine(error)}`);
      }
    }
    for (let round = 0; round < rounds; round += 1) {
      // Each round begins with another one: what a variant leaves in the caches meets another one, too.
      for (const [at] of lanes.entries()) {
        const lane = lanes[(at + round) % lanes.length];
        if (lane === undefined) continue;
        try {
          await measure(attacker, lane, packets);
        } catch (error) {
          leftOut.push(`${lane.variant.name}, round ${round + 1}: ${firstLine(error)}`);
        }
      }
      progress(`round ${round + 1} of ${rounds}`);
    }
    return sectionOf(await Promise.all(lanes.map(rowOf)), packets, rounds, leftOut);
  } finally {
    for (const { ammunition, postern } of lanes) {
      ammunition.close();
      await postern?.close();
    }
    await lab.close();
  }
}

async function openLane(server: Host, attacker: Host, variant: Variant): Promise<Lane> {
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

async function measure(attacker: Host, lane: Lane, count: number): Promise<void> {
  const before = await arrived(lane);
  const { packets, elapsedMs } = await lane.ammunition.sendCount(attacker, lane.device, count);
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

async function rowOf({ variant, server, nanoseconds }: Lane): Promise<Row> {
  const listed = variant.firewall === 'sieve' ? (await server.exec(['nft', '-j', 'list', 'set', 'inet', 'postern', 'tags'])).stdout : '';
  return { system: variant.name, tags: [...listed.matchAll(/"val":/g)].length, nanoseconds };
}

function sectionOf(rows: readonly Row[], packets: number, rounds: number, leftOut: readonly string[]): Section {
  const of = (name: string): number => median(rows.find(({ system }) => system === name)?.nanoseconds ?? []);
  const [link, bare] = [of('link alone'), of('no firewall')];
  const percent = (share: number): string => (Number.isFinite(share) ? `${Math.round(share * 100)} %` : '–');
  const wholeOf = ({ nanoseconds }: Row): string =>
    `${asCount(median(nanoseconds))} ns (${asCount(Math.min(...nanoseconds))} to ${asCount(Math.max(...nanoseconds))})`;
  const dropping = rows.filter(({ system }) => system === 'sieve, unmatched: drop');
  const most = dropping.at(-1);
  return {
    key: 'sieve',
    title: 'What a junk packet costs the kernel',
    command: 'npm run bench -- sieve',
    about: [
      `${asCount(packets)} packets of the right form with random content (${asCount(FRAMES)} different ones) in each of ${rounds} rounds, the variants in turn, each a server on a cable (veth) of
its own. One core sends (trafgen) and, as veth has it, does the receiving kernel's work too: the time is that of a packet from end to end. "link alone" is the same packet for another Ethernet
address, which the receiver drops before any firewall: what is above it is the receiver's own work. "no firewall" is a closed UDP port; the stateful firewall is four lines
of nftables that let answers in and drop the rest. Medians, and least to most.`,
      `With \`unmatched: pass\` junk goes on as on any host with a stateful firewall: through connection tracking, the gate, and up to the closed port.`,
    ],
    tables: [
      {
        title: '',
        head: [
          'at the knock port',
          'armed tags',
          'a packet, with sending it',
          'beside no firewall',
          "the receiver's work",
          'beside no firewall',
        ],
        rows: rows.map((row) => {
          const whole = median(row.nanoseconds);
          const own = `${asCount(whole - link)} ns`;
          return [row.system, asCount(row.tags), wholeOf(row), percent(whole / bare), own, percent((whole - link) / (bare - link))];
        }),
      },
    ],
    charts: [
      {
        kind: 'bars',
        name: 'sieve',
        title: "The receiver's work for a junk packet at the knock port, median",
        x: { label: 'nanoseconds', scale: 'linear' },
        bars: rows
          .filter(({ system }) => system !== 'link alone')
          .map(({ system, tags, nanoseconds }) => {
            const value = median(nanoseconds) - link;
            return {
              name: system.startsWith('sieve') ? `${system.replace('unmatched: ', '')}, ${asCount(tags)} tags` : system,
              value,
              text: `${asCount(value)} ns`,
            };
          }),
      },
    ],
    headlines: [
      {
        figure: `kernel: a junk packet in the sieve, ${asCount(most?.tags ?? 0)} tags armed`,
        goal: 'a quarter cheaper than no firewall',
        ours: `${percent(1 - median(most?.nanoseconds ?? []) / bare)} cheaper with sending it, ${percent(1 - (median(most?.nanoseconds ?? []) - link) / (bare - link))} cheaper for the receiver`,
        peers: '–',
      },
    ],
    leftOut,
    raw: rows,
  };
}

await runPart(measureAll);
