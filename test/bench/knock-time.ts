// From sending a knock's packet to an accepted TCP connection, for every system in turn: npm run bench -- knock-time [--quick].
import { asTime, median, quantile } from './figures.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import type { Section } from './section.ts';
import { Arena } from './systems/arena.ts';
import { VARIANTS, variant } from './systems/variants.ts';

const DEADLINE_MS = 5_000;
/** Lost in a row: the daemon is no more. */
const GIVES_UP_AFTER = 4;

type Sample = { readonly ms: number | null; readonly looks: number };

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const rounds = isQuick ? 10 : 300;
  const arena = await Arena.create('knock');
  try {
    for (const each of VARIANTS) {
      const started = await arena.start(each);
      progress(`${each.name}: ${started === undefined ? 'did not start' : `started in ${asTime(started.startMs)}`}`);
    }
    const samples = new Map<string, Sample[]>(arena.started.map(({ variant }) => [variant.key, []]));
    // The first of each does not count: what it loads, later ones find there.
    for (let round = -1; round < rounds; round += 1) {
      for (const started of [...arena.started]) {
        try {
          const sample = await arena.timeKnock(started.system, { deadlineMs: DEADLINE_MS });
          if (round >= 0) samples.get(started.variant.key)?.push(sample);
          const last = samples.get(started.variant.key)?.slice(-GIVES_UP_AFTER) ?? [];
          if (last.length === GIVES_UP_AFTER && last.every(({ ms }) => ms === null))
            throw new Error(`${GIVES_UP_AFTER} knocks in a row opened nothing`);
        } catch (error) {
          await arena.leaveOut(started, error);
        }
      }
      if (round % 50 === 0) progress(`round ${round} of ${rounds}`);
    }
    return section(arena, samples);
  } finally {
    await arena.close();
  }
}

function section(arena: Arena, samples: ReadonlyMap<string, readonly Sample[]>): Section {
  const times = (key: string): number[] => (samples.get(key) ?? []).flatMap(({ ms }) => ms ?? []);
  const every = [...samples.values()].flat().filter(({ ms }) => ms !== null);
  const lookMs = median(every.map(({ ms, looks }) => (ms ?? 0) / looks));
  const rows = arena.started.map(({ variant }) => {
    const all = times(variant.key);
    const lost = (samples.get(variant.key)?.length ?? 0) - all.length;
    return [variant.name, ...[0.5, 0.9, 0.99, 1].map((share) => asTime(quantile(all, share))), `${all.length}`, `${lost}`];
  });
  const peers = ['fwknopd', 'fwknopd-tuned', 'fwknopd-udp', 'knockd'].filter((key) => samples.has(key));
  const short = (key: string): string => `${asTime(median(times(key)))}`;
  return {
    key: 'knock-time',
    title: 'From the packet to the open port',
    command: 'npm run bench -- knock-time',
    about: [
      `The time from \`sendto\` of a knock that was made before to the first TCP connection that is accepted. One program sends for every system and tries the port, with
connections that are refused at once until the port opens, every ${asTime(lookMs)} (median): that is how fine the figures are. All systems run at the same time, each
on a server (network namespace) of its own with a cable (veth) of its own to the client, the same policy (the port answers strangers with a reset) and the same
service behind it; one knock of each in turn, each from a fresh address. A knock that opened nothing within ${asTime(DEADLINE_MS)} counts as lost.`,
      arena.started.map(({ variant }) => `- ${variant.name}: ${variant.setup}`).join('\n'),
    ],
    tables: [{ title: '', head: ['system', 'median', 'p90', 'p99', 'longest', 'samples', 'lost'], rows }],
    charts: [
      {
        kind: 'bars',
        name: 'knock-time',
        title: 'From the packet to the open port, median (line: p99)',
        x: { label: 'milliseconds', scale: 'log' },
        bars: arena.started.map(({ variant }) => {
          const all = times(variant.key);
          return {
            name: variant.name,
            value: median(all),
            mark: quantile(all, 0.99),
            text: `${asTime(median(all))} / ${asTime(quantile(all, 0.99))}`,
          };
        }),
      },
    ],
    headlines: [
      {
        figure: 'packet sent → TCP connection accepted, median and p99',
        goal: 'under 1.5 ms and 5 ms',
        ours: `${short('postern')} and ${asTime(quantile(times('postern'), 0.99))}`,
        peers: peers.map((key) => `${variant(key).name} ${short(key)}`).join('; '),
      },
    ],
    leftOut: arena.leftOut.map(({ variant, why }) => `${variant.name}: ${why}`),
    raw: Object.fromEntries(samples),
  };
}

await runPart(measure);
