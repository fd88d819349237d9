// `knock proxy HOST PORT`: knocks, and becomes the connection as soon as there is one. Its standard output belongs to whoever called it.
import { closeSync, fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import { CommandError, isCommandError, usageError } from './command-error.ts';
import { DoorWatch, type Taker } from './door-watch.ts';
import { type Located, locate } from './locate.ts';
import { checkOptions, type KnockOptions } from './options.ts';
import { budgetAttempts } from './plan.ts';
import type { ProxyLine } from './quick-line.ts';
import { quote } from './quote.ts';
import { relay } from './relay.ts';
import { printError } from './report.ts';
import { reachable } from './targets.ts';
import type { World } from './world.ts';

const STDOUT = 1;
// Tunable: how long a name may take until the keys are read meanwhile. A resolver of this machine answers sooner.
const NEAR_NAME_MS = 2;

/** Gives the exit code: 0 when both sides have finished. */
export async function proxyCommand(line: ProxyLine, world: World): Promise<number> {
  const port = portOf(line.port);
  const options = checkOptions(line.host, [`tcp/${port}`], [], line.raw);
  const remark = (text: string) => {
    if (options.output === 'verbose') world.err(`knock: ${text}\n`);
  };
  try {
    const socket = await openDoor(options, world, remark);
    remark(`connected to ${socket.remoteAddress ?? line.host} port ${port}`);
    return await pass(socket, options, world);
  } catch (cause) {
    if (!isCommandError(cause)) throw cause;
    // ssh prints what it thinks of a proxy that ended: one line of ours is what its user can still read.
    printError(options.output === 'verbose' ? cause : new CommandError(cause.exitCode, cause.code, cause.message), world);
    return cause.exitCode;
  }
}

function portOf(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65535) return Number(text);
  throw usageError([`not a port: ${quote(text)} (a number from 1 to 65535, as ssh's %p)`]);
}

/**
 * The connection is the check, and begins before any key is read: a door that is open needs no knock and no key, and node's cryptography takes longer
 * to load than a near host to answer.
 */
async function openDoor(options: KnockOptions, world: World, remark: (text: string) => void): Promise<Socket> {
  const located = await locate(options, world, remark);
  return await new Promise((resolve, reject) => {
    knockUnlessOpen(located, resolve, options, world, remark).catch(reject);
  });
}

/** Resolves when somebody has taken the connection; fails when there will be none. */
async function knockUnlessOpen(
  located: Located,
  take: Taker,
  options: KnockOptions,
  world: World,
  remark: (text: string) => void,
): Promise<void> {
  let stage: 'looking' | 'reading' | 'knocking' = 'looking';
  let won: Socket | undefined;
  const hold = (socket: Socket) => {
    won = socket;
    if (stage !== 'knocking') remark('the port is open: no knock is needed');
    if (stage !== 'reading') return take(socket);
    // Nobody listens to it yet: the server may lose patience while somebody types, which must not end this program with a stack trace.
    socket.once('error', () => {
      won = undefined;
    });
  };
  const looking = lookEarly(located, hold, options, world);
  try {
    await atMost(NEAR_NAME_MS, looking);
    if (won !== undefined) return;
    stage = 'reading';
    const { planKnock, readKeys } = await import('./prepare.ts');
    const keys = await readKeys(located, options, world, remark);
    await turn();
    // Not sooner: somebody may have been asked for a passphrase, and two would have read the same terminal.
    if (won !== undefined) return take(won);
    stage = 'knocking';
    const prepared = await planKnock('open', located, keys, options, world, remark);
    const watch = await looking;
    const { knockAtAll } = await import('./door.ts');
    // Nothing is tried beside the connection that could use a one-shot grant up.
    const reports = await knockAtAll({ ...prepared.plan, unchecked: undefined }, world, remark, { watch });
    prepared.plan.slots.prune(world.now());
    if (won !== undefined) return;
    const { circumstancesOf, explainFailure } = await import('./diagnose.ts');
    throw explainFailure(reports, circumstancesOf(prepared, undefined, world));
  } catch (cause) {
    if (!isCommandError(cause) || !MAY_BE_OPEN.has(cause.code)) throw cause;
    await (await looking).answered(options.timeoutMs);
    if (won === undefined) throw cause;
    take(won);
  } finally {
    looking.then(
      (watch) => watch.close(),
      () => undefined,
    );
  }
}

// Without keys no knock can be made, but a host that needs none (a trusted network, a host without posternd) is reached as ever.
const MAY_BE_OPEN: ReadonlySet<string> = new Set(['server-key-unknown', 'no-identity', 'no-passphrase']);

/** The first connections, at all addresses that will be knocked at. Fails as the lookup of the name does. */
async function lookEarly(located: Located, take: Taker, options: KnockOptions, world: World): Promise<DoorWatch> {
  const { source, from, probes } = located;
  const { targets } = reachable(await located.lookup(), source, from);
  const watch = new DoorWatch({
    targets: targets.slice(0, budgetAttempts(targets.length, located.slots, options.retries).addresses),
    ports: probes.ports.map(({ port }) => port),
    from,
    sourcePort: options.sourcePort,
    monotonicMs: world.monotonicMs,
    take,
  });
  await watch.lookBefore();
  return watch;
}

/** Waits for so long until it gives something or fails, which whoever awaits it later will see. */
async function atMost(waitMs: number, promise: Promise<unknown>): Promise<void> {
  const settled = promise.catch(() => undefined);
  // The clock of timers stands still while a program loads: without a turn this one would be over at once.
  await turn();
  await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, waitMs))]);
}

/** Lets the event loop take in what has come. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function pass(socket: Socket, options: KnockOptions, world: World): Promise<number> {
  const end = await relay(socket, process.stdin, process.stdout, closeOutput);
  if (end.kind === 'finished') return 0;
  if (end.kind === 'broken' && options.output !== 'quiet')
    world.err(`knock: the connection to ${quote(options.host)} broke (${end.code})\n`);
  return 1;
}

/** Node keeps standard output open to its own end; a reader at the other end of a pipe waits for this one. */
function closeOutput(): void {
  if (fstatSync(STDOUT).isFIFO()) closeSync(STDOUT);
}
