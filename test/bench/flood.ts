// Junk, forged packets and replays at several rates against every system, with honest knocks in between: npm run bench -- flood [--quick] [--json FILE].
//
//   attacker ─┐
//   client ───┼─ a switch for each server ── server: the system, a TCP service behind the door
//
// The attacker has one core for sending, which also does the receiving kernel's work for each packet; daemon and honest client share what is left.
import { asTime, digits, quantile } from './figures.ts';
import { type Assault, type Cell, runCell } from './flood/cell.ts';
import type { Rate } from './flood/generator.ts';
import { openedOf, sectionOf } from './flood/results.ts';
import { type Target, targetOf } from './flood/target.ts';
import { WEAPONS } from './flood/weapons.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import type { Section } from './section.ts';
import { Arena, firstLine } from './systems/arena.ts';
import { createPostern } from './systems/postern.ts';
import type { Variant } from './systems/system.ts';
import { variant } from './systems/variants.ts';

const RATES: readonly Rate[] = [1_000, 10_000, 50_000, 'max'];
/** Where the sieve does the same as for the first one, two rates show it. */
const FEW: readonly Rate[] = [10_000, 'max'];
const NO_SIEVE = 'with `firewall: iptables`, which has no sieve';

type Contender = { readonly variant: Variant; readonly rates: readonly Rate[]; readonly clients?: number; readonly knockEveryMs: number };

/** Many knocks a minute: the clients of a small company. A knock of fwknopd is made by a program of its own, and takes longer anyway. */
const ours = (made: Variant, rates: readonly Rate[]): Contender => ({ variant: made, rates, clients: 160, knockEveryMs: 10 });
const theirs = (made: Variant): Contender => ({ variant: made, rates: RATES, knockEveryMs: 60 });

const CONTENDERS: readonly Contender[] = [
  ours(variant('postern'), RATES),
  ours(variant('postern-raw'), FEW),
  ours(variant('postern-udp'), FEW),
  ours(variant('postern-iptables'), RATES),
  ours(withoutSieve('raw', { capture: 'raw', unmatched: 'pass' }), RATES),
  ours(withoutSieve('udp', { capture: 'udp' }), RATES),
  theirs(variant('fwknopd')),
  theirs(variant('fwknopd-udp')),
];

const QUIET: Assault = { weapon: 'quiet', rate: 0 };
const ASSAULTS: readonly Assault[] = WEAPONS.flatMap((weapon) => RATES.map((rate) => ({ weapon, rate })));
const QUICK_ASSAULTS: readonly Assault[] = [
  { weapon: 'form', rate: 10_000 },
  { weapon: 'form', rate: 'max' },
  { weapon: 'seal', rate: 'max' },
];

const TIMES = { knocksMs: 1_000, blast: 20, aloneMs: 300, knockDeadlineMs: 400 };
const QUICK_TIMES = { knocksMs: 300, blast: 5, aloneMs: 150, knockDeadlineMs: 200 };

function withoutSieve(capture: string, config: Readonly<Record<string, unknown>>): Variant {
  const name = `Postern, ${capture}, no sieve`;
  return {
    key: `postern-${capture}-iptables`,
    name,
    setup: `\`capture: ${capture}\` ${NO_SIEVE}`,
    create: (ground, more) => createPostern(ground, { name, config: { firewall: 'iptables', ...config }, ...more }),
  };
}

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const times = isQuick ? QUICK_TIMES : TIMES;
  const assaults: readonly Assault[] = [QUIET, ...(isQuick ? QUICK_ASSAULTS : ASSAULTS)];
  const arena = await Arena.create('flood', 1_200_000, { attacker: true });
  const cells: Cell[] = [];
  const failed: string[] = [];
  try {
    const targets: { readonly target: Target; readonly contender: Contender }[] = [];
    for (const contender of CONTENDERS) {
      const { clients, variant: each } = contender;
      const started = await arena.start(each, clients === undefined ? {} : { clients });
      progress(`${each.name}: ${started === undefined ? 'did not start' : `started in ${asTime(started.startMs)}`}`);
      if (started !== undefined) targets.push({ target: targetOf(arena, started), contender });
    }
    for (const assault of assaults) {
      const done: string[] = [];
      for (const { target, contender } of targets) {
        if (assault.weapon !== 'quiet' && !contender.rates.includes(assault.rate)) continue;
        try {
          const cell = await runCell(arena, target, assault, { ...times, knockEveryMs: contender.knockEveryMs });
          cells.push(cell);
          done.push(inShort(cell));
        } catch (error) {
          failed.push(`${target.name}, ${assault.weapon} at ${assault.rate}: ${firstLine(error)}`);
          done.push(failed.at(-1) ?? '');
        }
      }
      progress(`${assault.weapon} at ${assault.rate}: ${done.join('; ')}`);
    }
    return sectionOf({ arena, cells, failed, ...times });
  } finally {
    await arena.close();
  }
}

function inShort(cell: Cell): string {
  return `${cell.system} ${digits(cell.cpuPercent)} (${digits(cell.cpuAlonePercent)}) %, ${openedOf([cell])} in ${asTime(quantile(cell.openedMs, 0.99))}`;
}

await runPart(measure);
