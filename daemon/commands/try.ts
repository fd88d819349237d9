// `posternd try`: asks for a trial of the gate, tells the administrator what to do, and says how it ended. The timer is not here (trial.ts):
// this process, its terminal and its connection may all be lost meanwhile.
import { closeSync, mkdirSync, readSync, statSync } from 'node:fs';
import { chown } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseDuration } from '../../protocol/duration.ts';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon, NotRunning } from '../control/ask.ts';
import { type Request, TrialReport } from '../control/messages.ts';
import { createFresh } from '../fresh-file.ts';
import { formatProblem } from '../problem.ts';
import { readSetup } from '../setup.ts';
import { type Launched, launch } from '../spawn.ts';
import { callersConnection } from './caller.ts';
import { lockOut, parseSshConnection } from './lock-out.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig, requireNetAdmin } from './require.ts';

// Tunable
const LOOK_MS = 200;
const START_PATIENCE_MS = 20_000;
const END_PATIENCE_MS = 5000;
/** Of what a process that did not start said. */
const MOST_LINES = 10;
const MOST_SAID_BYTES = 64 * 1024;
const LONGEST_SECONDS = 3600;

export type TryOptions = CommonOptions & { readonly action: 'begin' | 'confirm' | 'cancel'; readonly time: string };

export async function tryCommand(options: TryOptions, output: Output): Promise<void> {
  if (options.action === 'begin') await begin(options, output);
  else await finish(options, options.action, output);
}

async function begin(options: TryOptions, output: Output): Promise<void> {
  const seconds = parseDuration(options.time);
  if (!seconds.ok) throw new CommandError(2, `--for: ${seconds.why}`);
  if (seconds.value < 1 || seconds.value > LONGEST_SECONDS) throw new CommandError(2, `--for: 1s to 1h, not ${options.time}`);
  const { config, book, warnings } = await readSetup(options.config);
  if (config.firewall === 'none') throw new CommandError(2, `${config.file}: "firewall: none" has no gate: there is nothing to try`);
  const connection = await callersConnection(process.env);
  const session = connection === undefined ? undefined : parseSshConnection(connection.text);
  const locked = lockOut(session, config, book, systemClock.wall());
  for (const problem of [...warnings, ...(locked === undefined ? [] : [locked])]) output.err(formatProblem(problem));

  const ask = { action: 'begin', seconds: seconds.value, connection: connection ?? null } as const;
  const begun = await trial(config, ask).catch(async (error: unknown) => {
    if (!(error instanceof NotRunning)) throw error;
    return beginAlone(config, ask);
  });
  const interrupted = { yet: false };
  process.once('SIGINT', () => {
    interrupted.yet = true;
  });
  if (!options.json) for (const line of invitation(seconds.value, config, options.config)) output.out(line);
  const phase = await untilOver(config, interrupted);
  if (phase === 'interrupted') {
    await trial(config, { action: 'cancel' });
    output.out('\ncancelled: the gate is down, every port is as open as without Postern');
    process.exitCode = 130;
    return;
  }
  if (options.json) output.out(JSON.stringify({ confirmed: phase === 'kept', state: phase === 'kept' ? 'up' : 'down' }));
  if (phase !== 'kept') throw new CommandError(1, 'not confirmed: the gate is down again, every port is as open as without Postern');
  if (!options.json) output.out(`confirmed: the gate stays${begun.alone ? `\n${START_IT}` : ''}`);
}

const START_IT = 'no daemon runs now, so nobody can knock: start it before you leave, as by "systemctl enable --now postern-gate posternd"';

async function finish(options: TryOptions, action: 'confirm' | 'cancel', output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  const connection = (await callersConnection(process.env)) ?? null;
  const none = () => new CommandError(1, 'no trial is under way: "posternd try" begins one');
  const report = await trial(config, action === 'confirm' ? { action, connection } : { action }).catch((error: unknown) => {
    throw error instanceof NotRunning ? none() : error;
  });
  // So that a daemon that is started next finds nobody in its place.
  if (report.alone) await untilGone(config);
  if (options.json) output.out(JSON.stringify({ confirmed: action === 'confirm', state: action === 'confirm' ? 'up' : 'down' }));
  else if (action === 'cancel') output.out('the gate is down: every port is as open as without Postern');
  else output.out(`confirmed: the gate stays${report.alone ? `\n${START_IT}` : ''}`);
}

/** No daemon: one for the trial alone, as the owner of the state folder, so that the files it leaves are the daemon's. */
async function beginAlone(config: Config, ask: Parameters<typeof trial>[1]): Promise<TrialReport> {
  requireNetAdmin('posternd try');
  const owner = statSync(config.state, { throwIfNoEntry: false });
  if (owner === undefined) throw new CommandError(2, `there is no ${config.state}: run "posternd init" first`);
  const folder = dirname(config.control);
  if (mkdirSync(folder, { recursive: true, mode: 0o750 }) !== undefined) await chown(folder, owner.uid, owner.gid);
  const log = createFresh(join(folder, 'trial.log'));
  const launched = launch([...asOwner(owner), process.execPath, process.argv[1] ?? '', 'run', '--for-trial', '-c', config.file], log);
  try {
    return await answersOrEnds(config, launched, log, ask);
  } finally {
    closeSync(log);
    launched.forget();
  }
}

function asOwner({ uid, gid }: { readonly uid: number; readonly gid: number }): readonly string[] {
  if (uid === 0 || process.geteuid?.() !== 0) return [];
  const capabilities = ['--inh-caps', '--ambient-caps'].map((set) => `${set}=+net_admin,+net_raw`);
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...capabilities, '--'];
}

async function answersOrEnds(config: Config, launched: Launched, log: number, ask: Parameters<typeof trial>[1]): Promise<TrialReport> {
  const ended: { code: number | undefined } = { code: undefined };
  void launched.ended.then((code) => {
    ended.code = code;
  });
  const patience = systemClock.monotonic() + START_PATIENCE_MS;
  for (;;) {
    try {
      return await trial(config, ask);
    } catch (error) {
      if (!(error instanceof NotRunning)) throw error;
    }
    if (ended.code !== undefined || systemClock.monotonic() > patience) {
      const said = firstPart(log).trim().split('\n').slice(-MOST_LINES).join('\n');
      throw new CommandError(
        ended.code === 2 || ended.code === 3 ? ended.code : 1,
        said.replaceAll(/^posternd: /gm, '') || 'the trial did not start',
      );
    }
    await delay(LOOK_MS / 4);
  }
}

/** From the file that was made, whatever stands under its name by now. */
function firstPart(log: number): string {
  const bytes = Buffer.alloc(MOST_SAID_BYTES);
  return bytes.toString('utf8', 0, readSync(log, bytes, 0, bytes.length, 0));
}

function invitation(seconds: number, config: Config, file: string): readonly string[] {
  const here = file === '/etc/postern/postern.yaml' ? '' : ` -c ${file}`;
  return [
    `the gate is up for ${seconds} s: ${config.protect.length === 0 ? 'nothing is protected yet' : 'protected ports are closed unless granted'}`,
    'keep this connection. Open a NEW one now (from another terminal: knock, then ssh), and there run:',
    `  sudo posternd try --confirm${here}`,
    'otherwise the gate is taken down again; Ctrl-C here does so at once',
  ];
}

async function untilOver(config: Config, interrupted: { readonly yet: boolean }): Promise<TrialReport['phase'] | 'interrupted'> {
  for (;;) {
    if (interrupted.yet) return 'interrupted';
    const { phase } = await look(config);
    if (phase !== 'running') return phase;
    await delay(LOOK_MS);
  }
}

/** A daemon that restarts in the middle goes on with the trial: it is given the time for that. */
async function look(config: Config): Promise<TrialReport> {
  const patience = systemClock.monotonic() + END_PATIENCE_MS;
  for (;;) {
    try {
      return await trial(config, { action: 'look', collect: true });
    } catch (error) {
      // Also one that dies while it answers.
      if (!(error instanceof CommandError)) throw error;
      if (systemClock.monotonic() > patience)
        throw new CommandError(
          1,
          'the process that held the trial is gone, and the gate with it where the kernel can: see "posternd gate show"',
        );
    }
    await delay(LOOK_MS);
  }
}

async function untilGone(config: Config): Promise<void> {
  const patience = systemClock.monotonic() + END_PATIENCE_MS;
  while (systemClock.monotonic() < patience) {
    try {
      await trial(config, { action: 'look', collect: false });
    } catch (error) {
      if (error instanceof NotRunning) return;
      // It ends while it answers.
      if (!(error instanceof CommandError)) throw error;
    }
    await delay(LOOK_MS / 4);
  }
}

function trial(config: Config, ask: Extract<Request, { command: 'try' }>['ask']): Promise<TrialReport> {
  return askDaemon(config.control, { command: 'try', ask }, TrialReport);
}
