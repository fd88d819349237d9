// `knock proxy HOST PORT`: knocks, and becomes the connection as soon as there is one. Its standard output belongs to whoever called it.
import { closeSync, fstatSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { CommandError, isCommandError, usageError } from './command-error.ts';
import { type AddressReport, knockAtAll } from './door.ts';
import { checkOptions, type KnockOptions } from './options.ts';
import { type Prepared, prepareKnock } from './prepare.ts';
import type { ProxyLine } from './quick-line.ts';
import { quote } from './quote.ts';
import { relay } from './relay.ts';
import { printError } from './report.ts';
import { resolveHost } from './resolve.ts';
import { findSshHost } from './ssh-host.ts';
import type { World } from './world.ts';

const STDOUT = 1;

/** Gives the exit code: 0 when both sides have finished. */
export async function proxyCommand(line: ProxyLine, world: World): Promise<number> {
  const port = portOf(line.port);
  const options = checkOptions(line.host, [`tcp/${port}`], [], line.raw);
  const remark = (text: string) => {
    if (options.output === 'verbose') world.err(`knock: ${text}\n`);
  };
  try {
    const socket = await openDoor(options, port, world, remark);
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

async function openDoor(options: KnockOptions, port: number, world: World, remark: (text: string) => void): Promise<Socket> {
  let prepared: Prepared;
  try {
    prepared = await prepareKnock('open', options, world, remark);
  } catch (cause) {
    if (!isCommandError(cause) || !MAY_BE_OPEN.has(cause.code)) throw cause;
    return await withoutKnock(cause, options, port, world);
  }
  // The connection is the check: nothing is tried beside it that could use a one-shot grant up.
  const plan = { ...prepared.plan, unchecked: undefined };
  return await new Promise((resolve, reject) => {
    let taken = false;
    const take = (socket: Socket) => {
      taken = true;
      resolve(socket);
    };
    const judge = async (reports: readonly AddressReport[]) => {
      plan.slots.prune(world.now());
      if (taken) return;
      const { circumstancesOf, explainFailure } = await import('./diagnose.ts');
      reject(explainFailure(reports, circumstancesOf(prepared, undefined, world)));
    };
    knockAtAll(plan, world, remark, { take }).then(judge).catch(reject);
  });
}

// Without keys no knock can be made, but a host that needs none (a trusted network, a host without posternd) is reached as ever.
const MAY_BE_OPEN: ReadonlySet<string> = new Set(['server-key-unknown', 'no-identity', 'no-passphrase']);

async function withoutKnock(why: CommandError, options: KnockOptions, port: number, world: World): Promise<Socket> {
  const ssh = findSshHost(options.host, undefined, world);
  const { targets } = await resolveHost(ssh.host, options.family ?? ssh.family, options.timeoutMs);
  for (const target of targets) {
    const socket = await tryPlainly(target.text, port, options.timeoutMs / targets.length);
    if (socket === undefined) continue;
    if (options.output !== 'quiet') world.err(`knock: connected without a knock, the port is open: ${why.message}\n`);
    return socket;
  }
  throw why;
}

async function tryPlainly(host: string, port: number, waitMs: number): Promise<Socket | undefined> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, allowHalfOpen: true });
    const fail = () => {
      socket.destroy();
      resolve(undefined);
    };
    const timer = setTimeout(fail, waitMs);
    socket.once('error', fail);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      resolve(socket);
    });
  });
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
