// What `check` finds out about the host: interfaces, kernel, packet log, ledger, a daemon that runs. It looks and changes nothing.
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { obstructed, type SieveFacts, UNSILENT } from '../capture/auto.ts';
import { CaptureError } from '../capture/capture.ts';
import { probeNflog } from '../capture/nflog.ts';
import { probeRaw } from '../capture/raw.ts';
import { findObstacles } from '../capture/raw-obstacles.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { askDaemon, NotRunning } from '../control/ask.ts';
import { StatusReport } from '../control/messages.ts';
import { chooseFirewall } from '../firewall/choose.ts';
import { FirewallError } from '../firewall/firewall.ts';
import { interfaceProblems } from '../interfaces.ts';
import { libc, NativeMissingError } from '../netlink/libc.ts';
import { type Problem, problemAt } from '../problem.ts';
import { checkNeighbors, type Neighbors } from './check-neighbors.ts';

export type HostFacts = {
  readonly firewall: string;
  readonly capture: string;
  readonly daemon: string;
  /** What other firewalls mean for ours; undefined without a gate. */
  readonly neighbors: Neighbors | undefined;
  readonly problems: readonly Problem[];
  /** Something could not be found out without more rights. */
  readonly notPermitted: boolean;
};

export async function checkHost(config: Config): Promise<HostFacts> {
  const problems: Problem[] = [];
  problems.push(...nativeProblems(), ...(await interfaceProblems(config)));
  const gate = await firewallFacts(config, problems);
  const capture = await captureFacts(config, gate.sieve, problems);
  problems.push(...(await ledgerProblems(config)));
  const daemon = await daemonFacts(config, problems);
  const others = config.firewall === 'none' ? undefined : await checkNeighbors(config);
  problems.push(...(others?.problems ?? []));
  return {
    neighbors: others,
    firewall: gate.text,
    capture: capture.text,
    daemon,
    problems,
    notPermitted: gate.notPermitted || capture.notPermitted,
  };
}

/** A daemon cannot start without it, whatever the backend: its capabilities would go to every child. */
function nativeProblems(): readonly Problem[] {
  try {
    libc();
    return [];
  } catch (error) {
    if (!(error instanceof NativeMissingError)) throw error;
    return [problemAt(undefined, error.message, error.cure)];
  }
}

async function firewallFacts(
  config: Config,
  problems: Problem[],
): Promise<{ readonly text: string; readonly sieve: SieveFacts; readonly notPermitted: boolean }> {
  try {
    const { firewall, sentence, sieve, shortcomings } = await chooseFirewall(config);
    await firewall.release();
    for (const shortcoming of shortcomings) problems.push(problemAt(undefined, shortcoming, '', 'warning'));
    return { text: sentence.replace(/^firewall /, ''), sieve, notPermitted: false };
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    if (error.code !== 'NATIVE_MISSING') problems.push(problemAt(undefined, `firewall: ${error.message}`, error.cure));
    const sieve = { canLog: false, why: 'the gate does not work here' } as const;
    return { text: 'does not work here', sieve, notPermitted: error.code === 'NO_PERMISSION' };
  }
}

async function captureFacts(
  config: Config,
  sieve: SieveFacts,
  problems: Problem[],
): Promise<{ readonly text: string; readonly notPermitted: boolean }> {
  const udp = `udp: a socket on port ${config.port}`;
  if (config.capture === 'udp') return { text: udp, notPermitted: false };
  if (config.capture === 'raw') {
    const unsilent = sieve.canLog && sieve.marks !== true && config.unmatched === 'drop';
    const trouble = unsilent ? new CaptureError('unsupported', UNSILENT) : await rawTrouble(config, problems);
    if (trouble === undefined) return { text: RAW, notPermitted: false };
    // The message names its cure.
    problems.push(problemAt(undefined, trouble.message, ''));
    return { text: 'raw: does not work here', notPermitted: trouble.fault === 'not-permitted' };
  }
  if (sieve.canLog) {
    const trouble = await probeNflog();
    if (trouble === undefined) return { text: 'nflog: the kernel hands knocks over, nothing listens', notPermitted: false };
    if (config.capture === 'nflog') problems.push(problemAt(undefined, trouble.message, 'write capture: auto, raw or udp'));
    // Without CAP_NET_ADMIN nothing else can be said of this host.
    if (trouble.fault === 'not-permitted') return { text: `unknown (${trouble.message})`, notPermitted: true };
  } else if (config.capture === 'nflog') {
    problems.push(problemAt(undefined, `capture: nflog cannot work here, ${sieve.why}`, 'write capture: auto, raw or udp'));
  }
  const trouble = await rawTrouble(config, []);
  return { text: trouble === undefined ? RAW : `${udp} (${trouble.message})`, notPermitted: false };
}

const RAW = 'raw: a copy of what arrives, nothing is bound to a port';

/** Why raw sockets would not do here. What cannot be told is a warning. */
async function rawTrouble(config: Config, problems: Problem[]): Promise<CaptureError | undefined> {
  const trouble = await probeRaw(config.port);
  if (trouble !== undefined) return trouble;
  const { chains, unknown } = await findObstacles(config.table);
  if (chains.length > 0) return obstructed(chains);
  for (const what of unknown) {
    const message = `whether another firewall keeps packets from raw sockets cannot be told: ${what} could not be read`;
    problems.push(problemAt(undefined, message, 'run it as root, or use capture: nflog', 'warning'));
  }
  return undefined;
}

async function ledgerProblems(config: Config): Promise<readonly Problem[]> {
  const there = await lstat(join(config.state, 'ledger')).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  );
  if (there) return [];
  const message = `there is no replay ledger in ${config.state}`;
  return [problemAt(undefined, message, 'run "posternd init": without it, the first minutes after a start refuse every knock', 'warning')];
}

async function daemonFacts(config: Config, problems: Problem[]): Promise<string> {
  try {
    const status = await askDaemon(config.control, { command: 'status' }, StatusReport);
    return `runs (pid ${status.pid}, version ${status.version}), the gate is ${status.gate.state}`;
  } catch (error) {
    if (error instanceof NotRunning) return 'does not run';
    if (!(error instanceof CommandError)) throw error;
    problems.push(problemAt(undefined, error.message, '', 'warning'));
    return 'cannot be asked';
  }
}
