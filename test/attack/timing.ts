// Measures whether the answers of unrelated services tell a true packet from junk: `npm run attack -- timing [SAMPLES] [apart]`. With `apart` the daemon
// has one processor for itself, and the stranger, the network and the service share another. Samples of junk, of true tags
// over broken seals and of true knocks are taken by turns in random order; ranks are compared (Mann and Whitney), as times have no normal distribution.
import { randomBytes, randomInt } from 'node:crypto';
import { Knocker } from '../lab/installation.ts';
import { run } from '../lab/process.ts';
import { FAMILIES, KNOCK_PORT, rulesFor, Stage } from '../lab/stage.ts';
import { Mint } from './adversary.ts';

const KINDS = ['junk', 'true tag, broken seal', 'true knock'] as const;
type Kind = (typeof KINDS)[number];
export type TimedPacket = { readonly kind: Kind; readonly bytes: string };
export type Sample = { readonly kind: Kind; readonly asked: 'echo' | 'connect'; readonly us: number };

const ECHO_PORT = 8_054;
const TCP_PORT = 8_024;
const SLOTS = 64;
const PROBE = new URL('./timing-probe.js', import.meta.url).pathname;

const samplesOfKind = Number(process.argv[2] ?? 600);
const isApart = process.argv.includes('apart');
// What is started from here on inherits it.
if (isApart) await onProcessor(1, process.pid);
const stage = await Stage.create({ label: 'timing', start: false });
const people = await Promise.all(
  Array.from({ length: Math.ceil((4 * samplesOfKind) / SLOTS) }, (_, nth) => Knocker.create(stage.client, `person${nth}`)),
);
try {
  await stage.server.listen({ tcp: [TCP_PORT], udp: [ECHO_PORT] });
  stage.postern.writeRules(rulesFor([stage.alice, stage.bob, ...people]));
  await stage.postern.start();
  if (isApart) await onProcessor(0, stage.postern.daemon.pid ?? 0);
  const mints = people.map((person) => new Mint(person, stage.postern, SLOTS));
  let minted = 0;
  const next = () => {
    minted += 1;
    return (
      mints[Math.floor((minted - 1) / SLOTS)]?.packet({ action: { kind: 'open', lifetimeSeconds: 5, once: false } }, 'shortest') ??
      new Uint8Array()
    );
  };
  for (const { family, at } of FAMILIES) {
    const packets = shuffled(KINDS.flatMap((kind) => Array.from({ length: samplesOfKind }, () => ({ kind, bytes: make(kind, next) }))));
    const argv = [process.execPath, PROBE, stage.server.addresses()[at], KNOCK_PORT, ECHO_PORT, TCP_PORT].map(String);
    const before = await stage.postern.status();
    const { stdout } = await run(stage.stranger.inside(argv), { stdin: JSON.stringify(packets), timeoutMs: 300_000 });
    const after = await stage.postern.status();
    const samples = JSON.parse(stdout) as readonly Sample[];
    process.stdout.write(
      `${family}: ${after.knocks.granted - before.knocks.granted} knocks were granted, ${(after.knocks.dropped['seal'] ?? 0) - (before.knocks.dropped['seal'] ?? 0)} seals did not open\n`,
    );
    for (const asked of ['echo', 'connect'] as const)
      report(
        samples.filter((sample) => sample.asked === asked),
        `${family}, ${asked}`,
      );
  }
} finally {
  for (const person of people) person.close();
  await stage.close();
}

/** All threads of a process, those to come included. */
async function onProcessor(number: number, pid: number): Promise<void> {
  await run(['taskset', '--all-tasks', '--cpu-list', '--pid', String(number), String(pid)]);
}

function make(kind: Kind, next: () => Uint8Array): string {
  if (kind === 'junk') return randomBytes(192).toString('base64');
  const packet = next();
  if (kind !== 'true knock') packet[60] = (packet[60] ?? 0) ^ 1;
  return Buffer.from(packet).toString('base64');
}

function report(samples: readonly Sample[], what: string): void {
  const of = (kind: Kind) => samples.filter((sample) => sample.kind === kind).map(({ us }) => us);
  const junk = of('junk');
  for (const kind of KINDS) {
    const times = of(kind);
    const compared = kind === 'junk' ? '' : `, against junk: ${rankText(times, junk)}`;
    process.stdout.write(
      `${what}, after ${kind}: median ${quantile(times, 0.5)} µs, p90 ${quantile(times, 0.9)} µs, n ${times.length}${compared}\n`,
    );
  }
}

/** How often a time of the first kind is longer than one of the second (half means that they cannot be told apart), and how surprising that is. */
function rankText(ours: readonly number[], others: readonly number[]): string {
  let wins = 0;
  for (const our of ours) for (const other of others) wins += our > other ? 1 : our === other ? 0.5 : 0;
  const pairs = ours.length * others.length;
  const z = (wins - pairs / 2) / Math.sqrt((pairs * (ours.length + others.length + 1)) / 12);
  return `longer in ${((100 * wins) / pairs).toFixed(1)} % of pairs, z ${z.toFixed(2)}`;
}

function quantile(times: readonly number[], share: number): string {
  return (times.toSorted((a, b) => a - b)[Math.floor(times.length * share)] ?? Number.NaN).toFixed(1);
}

function shuffled<T>(items: readonly T[]): readonly T[] {
  const out = [...items];
  for (let at = out.length - 1; at > 0; at -= 1) {
    const other = randomInt(at + 1);
    const [a, b] = [out[at], out[other]];
    if (a === undefined || b === undefined) continue;
    out[at] = b;
    out[other] = a;
  }
  return out;
}
