// `knock close`: sends a close, and again while the door still lets connections in. A closed door is silent, so the check can only try.
import type { IpAddress } from '../protocol/address.ts';
import { type AddressReport, knockAtAll } from './door.ts';
import { localAddressFor } from './local-address.ts';
import type { KnockPlan } from './plan.ts';
import { isPortOpen } from './port-watch.ts';
import type { World } from './world.ts';

// Tunable. An open port on a working path answers well within this; a longer wait would make every close slow.
const ANSWER_WAIT_MS = 400;
const FIRST_PAUSE_MS = 5;
const LAST_PAUSE_MS = 100;
// How long the door may stay open before the close is sent again: a close takes the server a few milliseconds.
const FIRST_PATIENCE_MS = 300;

type OpenPort = { readonly address: IpAddress; readonly port: number };

export type Closing = {
  readonly reports: readonly AddressReport[];
  /** A port that went on accepting connections, or undefined when all are shut or nothing was checked. */
  readonly stillOpen: OpenPort | undefined;
};

export async function closeDoor(plan: KnockPlan, world: World, remark: (text: string) => void): Promise<Closing> {
  const deadlineMs = world.monotonicMs() + plan.timeoutMs;
  let reports: readonly AddressReport[] = [];
  let stillOpen: OpenPort | undefined;
  for (let attempt = 0; attempt < plan.attempts.perAddress; attempt += 1) {
    reports = added(reports, await knockAtAll(plan, world, remark));
    const reached = reports.filter((report) => report.sent > 0).map((report) => report.address);
    if (plan.unchecked !== undefined || reached.length === 0) break;
    const patienceMs = Math.min(world.monotonicMs() + FIRST_PATIENCE_MS * 2 ** attempt, deadlineMs);
    stillOpen = await findOpen(reached, plan, patienceMs, world);
    if (stillOpen === undefined || world.monotonicMs() >= deadlineMs) break;
  }
  return { reports, stillOpen };
}

function added(before: readonly AddressReport[], now: readonly AddressReport[]): readonly AddressReport[] {
  return now.map((report, at) => ({ ...report, sent: report.sent + (before[at]?.sent ?? 0) }));
}

async function findOpen(addresses: readonly IpAddress[], plan: KnockPlan, untilMs: number, world: World): Promise<OpenPort | undefined> {
  const pairs = addresses.flatMap((address) => plan.probes.ports.map(({ port }) => ({ address, port })));
  const stuck = await Promise.all(pairs.map(async (pair) => ((await shuts(pair, plan.from, untilMs, world)) ? undefined : pair)));
  return stuck.find((pair) => pair !== undefined);
}

async function shuts({ address, port }: OpenPort, from: KnockPlan['from'], untilMs: number, world: World): Promise<boolean> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS)) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    if ((await isPortOpen(address, port, localAddressFor(from, address.family), ANSWER_WAIT_MS)) !== 'open') return true;
    if (world.monotonicMs() >= untilMs) return false;
  }
}
