// `posternd run`: makes the daemon's parts from the host, runs until a signal, and leaves the gate standing.
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { acceptedWindows } from '../../protocol/tags.ts';
import { type Chosen, startCapture } from '../capture/auto.ts';
import { CaptureError } from '../capture/capture.ts';
import { deafnessWatch } from '../capture/deafness.ts';
import { rarely } from '../capture/rarely.ts';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { answering } from '../control/answers.ts';
import { makeControlFolder } from '../control/control-folder.ts';
import { serveControl } from '../control/server.ts';
import { asCommandError } from '../firewall/as-command-error.ts';
import { type ChosenFirewall, chooseFirewall } from '../firewall/choose.ts';
import { restoreGrants } from '../grants/restore.ts';
import { NFLOG_PREFIX } from '../layout.ts';
import { LedgerHeldError } from '../ledger/lock.ts';
import { openLedger, readBootId } from '../ledger/open.ts';
import { openLog } from '../log.ts';
import { keepMetrics } from '../metrics/keep-metrics.ts';
import { clearAmbientCapabilities, forbidNewPrivileges } from '../netlink/capabilities.ts';
import { giveMemoryBack } from '../netlink/memory.ts';
import { type Notify, openNotify } from '../notify.ts';
import { type Observers, startObservers } from '../observers.ts';
import { selfTest } from '../open/self-test.ts';
import { periodically } from '../periodically.ts';
import { Postern } from '../postern.ts';
import { formatProblem } from '../problem.ts';
import { backendLimits } from '../rules/backend-limits.ts';
import { readSetup, type Setup } from '../setup.ts';
import { Trial } from '../trial.ts';
import { VERSION } from '../version.ts';
import type { CommonOptions } from './options.ts';
import { requireNetAdmin } from './require.ts';

const TICK_MS = 1000;
const EXTENSION_MS = 30_000;
/** How often to ask whether knocks arrive. */
const LISTEN_MS = 5000;
/** The periodic check that the gate in the kernel is the gate we mean, beside the events that tell us at once. */
const VERIFY_MS = 60_000;

export type RunOptions = Pick<CommonOptions, 'config'> & {
  /** For one trial alone: the gate stays down until somebody asks for it, and the process ends with the trial. */
  readonly forTrial?: boolean;
  /** `plain`: as on kernels before 6.9, where nobody can own a table. For tests on newer ones. */
  readonly ownership?: 'plain';
};

/** Resolves when the daemon has stopped. Throws a CommandError when it cannot start; nothing stays behind then but a closed gate. */
export async function runCommand(options: RunOptions): Promise<void> {
  const onHangup = hangups();
  const first = await loadConfig(options.config);
  if (first.config?.firewall !== 'none') requireNetAdmin('posternd run');
  clearAmbientCapabilities();
  forbidNewPrivileges();
  giveMemoryBack();
  const notify = openNotify(process.env, process.pid);
  const starting = stillStarting(notify);
  // For the daemon alone: the rules of the start must not stay in memory when others are loaded.
  let setup: Setup | undefined = await readSetup(options.config);
  const { config } = setup;
  // From here on a signal ends the daemon in order, also one that comes while it starts.
  const stopAsked = stopSignal();
  await selfTest(systemClock.wall());
  const log = openLog({ level: config.log.level });
  const undo: (() => Promise<void> | void)[] = [() => notify.close(), () => clearInterval(starting)];
  const trouble = (text: string) => log.warn(text);
  try {
    const runtimeFolder = dirname(config.control);
    await makeControlFolder(config.control);
    const accepted = acceptedWindows(systemClock.wall(), config.clockToleranceMs);
    const bootId = readBootId();
    const { ledger, problems } = await openLedger({
      stateDir: config.state,
      runtimeDir: runtimeFolder,
      bootId,
      acceptable: { first: accepted.first, last: accepted.last + 1 },
      clock: systemClock,
      report: trouble,
    });
    undo.push(() => ledger.close());
    for (const problem of [...setup.warnings, ...problems]) log.warn(formatProblem(problem));

    const gate = await chooseFirewall(config, {
      onTrouble: trouble,
      ...(options.ownership === undefined ? {} : { ownership: options.ownership }),
    });
    const { firewall } = gate;
    undo.push(() => firewall.release());
    log.info(gate.sentence);
    if (firewall.name === 'none') log.warn('nothing is closed: "firewall: none" only decides and logs');
    for (const shortcoming of gate.shortcomings) log.warn(shortcoming);
    for (const limit of backendLimits(firewall.name, setup.book, 'warning')) log.warn(formatProblem(limit));
    const observers = await startObservers(config, log);
    const { observe, note, counters, audit, recent, hooks } = observers;
    undo.push(() => observers.end());

    // A capture that is bound before a single tag is armed: what comes while nobody listens would be spent for nothing.
    const early: { receive: Postern['receive'] } = { receive: async () => undefined };
    const chosen = await startCaptureFor(config, gate.sieve, (datagram) => void early.receive(datagram), trouble);
    const { capture } = chosen;
    undo.push(() => capture.stop());
    const left = await restoreGrants(runtimeFolder, bootId, systemClock.monotonic());
    const postern = new Postern({
      left,
      setup,
      firewall,
      ledger,
      sieve: chosen.sieve,
      clock: systemClock,
      bootId,
      runtimeFolder,
      observe,
      note,
      log,
    });
    hooks.adopt(postern.grants.each());
    hooks.adopt(postern.grants.missed());
    const serverKeys = setup.secrets.map(({ publicKey }) => formatPublicLine(publicKey, ''));
    note({ kind: 'start', version: VERSION, pid: process.pid, bootId, serverKeys, clients: postern.clientCount() });
    setup = undefined;
    early.receive = (datagram) => postern.receive(datagram);
    // In this order, so that no tag is spent in vain and every knock that was let in is worked off and journaled.
    undo.push(async () => {
      await postern.disarm();
      await capture.stop();
      await postern.end();
    });

    const trial = new Trial({
      gate: () => postern.gate,
      clock: systemClock,
      folder: runtimeFolder,
      bootId,
      alone: options.forTrial === true,
      report: (level, text) => log[level](text),
    });
    const startedAt = systemClock.monotonic();
    const captureWhy = chosen.sentence;
    const answer = answering({
      postern,
      firewall,
      ledger,
      capture,
      captureWhy,
      counters,
      audit,
      recent,
      note,
      trial,
      clock: systemClock,
      startedAt,
    });
    const control = await serveControl(config.control, groupId('postern'), answer);
    undo.push(() => control.close());

    await postern.start(trial.startUp());
    // Before everything else is let go: a trial that is stopped ends with the gate down.
    undo.push(() => trial.stop());
    log.info({ version: VERSION, gate: firewall.name, table: config.table, clients: postern.clientCount() }, `ready: ${chosen.sentence}`);
    clearInterval(starting);
    notify.tell('READY=1');
    undo.push(() =>
      log.info(
        postern.gate.state() === 'up' && firewall.name !== 'none'
          ? 'stopping; the gate stays closed'
          : 'stopping; the gate is DOWN and stays so',
      ),
    );
    undo.push(() => notify.tell('STOPPING=1'));
    if (config.metricsFile !== undefined) {
      const measured = { ...observers, postern, firewall, ledger, capture, startedAtMs: Math.round(performance.timeOrigin) };
      undo.push(keepMetrics(config.metricsFile, measured, trouble));
    }
    undo.push(keepTime(postern, log, notify, observers));
    if (chosen.sieve.kind === 'pass')
      undo.push(keepListening(deafnessWatch({ firewall, capture, decisions: () => counters.snapshot() }), log));
    onHangup(() => reload(postern, log, notify));
    await Promise.race([stopAsked, trial.over]);
  } catch (error) {
    throw plain(error);
  } finally {
    for (const step of undo.toReversed()) {
      // One that fails must not keep the ledger from being closed, or the process from ending.
      await Promise.resolve()
        .then(step)
        .catch((error: unknown) => log.error({ err: error }, 'a part could not be stopped in order'));
    }
    log.flush();
  }
}

/** Ten thousand clients take their time on a slow host: systemd waits as long as the event loop turns, whatever TimeoutStartSec says. */
function stillStarting(notify: Notify): NodeJS.Timeout {
  return setInterval(() => notify.tell(`EXTEND_TIMEOUT_USEC=${EXTENSION_MS * 1000}`), EXTENSION_MS / 3).unref();
}

async function startCaptureFor(
  config: Config,
  sieve: ChosenFirewall['sieve'],
  onDatagram: Parameters<typeof startCapture>[0]['onDatagram'],
  onTrouble: (text: string) => void,
): Promise<Chosen> {
  // With raw or udp wished, the gate still has its sieve: it passes knocks on and drops the rest before the socket is woken.
  return startCapture({
    wish: config.capture,
    sieve,
    unmatched: config.unmatched,
    port: config.port,
    table: config.table,
    group: config.nflogGroup,
    prefix: NFLOG_PREFIX,
    onDatagram,
    onTrouble,
  });
}

function keepTime(
  postern: Postern,
  log: Logger,
  notify: ReturnType<typeof openNotify>,
  { flush, eachMinute }: Pick<Observers, 'flush' | 'eachMinute'>,
): () => void {
  const tick = setInterval(() => {
    postern.tick().catch((error: unknown) => log.error({ err: error }, 'what is due each second could not be done'));
    flush();
  }, TICK_MS);
  const look = async () => {
    await postern.gate.verify();
    await postern.noteSpent();
    await eachMinute();
  };
  const failed = (error: unknown) => log.error({ err: error }, 'the gate could not be looked after');
  const endVerifying = periodically(VERIFY_MS, look, failed);
  // Only a turning event loop says that it is alive: a hung daemon is restarted, and the gate stays meanwhile.
  const watchdog = notify.watchdogMs === undefined ? undefined : setInterval(() => notify.tell('WATCHDOG=1'), notify.watchdogMs / 3);
  return () => {
    clearInterval(tick);
    flush(true);
    clearInterval(watchdog);
    endVerifying();
  };
}

function keepListening(deafness: () => Promise<string | undefined>, log: Logger): () => void {
  const report = rarely((text) => log.error(text));
  const look = async () => {
    const trouble = await deafness();
    if (trouble !== undefined) report(trouble);
  };
  const lookNow = () => void look().catch((error: unknown) => log.error({ err: error }, 'the counters of the gate could not be read'));
  // The first look is what the later ones are compared with.
  lookNow();
  const timer = setInterval(lookNow, LISTEN_MS);
  return () => clearInterval(timer);
}

/** Resolves at the first SIGTERM or SIGINT, a clean stop either way. A second one ends the process at once; the gate stays then too. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
}

/** From now on SIGHUP ends nothing. One that comes while the daemon starts is heeded when it runs: what it meant may have been read already. */
function hangups(): (reload: () => void) => void {
  let hasCome = false;
  let heed = (): void => {
    hasCome = true;
  };
  process.on('SIGHUP', () => heed());
  return (reload) => {
    heed = reload;
    if (hasCome) reload();
  };
}

function reload(postern: Postern, log: Logger, notify: Notify): void {
  notify.tell(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  postern
    .reload()
    .then(({ clients, warnings, notes }) => {
      for (const line of [...warnings, ...notes]) log.warn(line);
      log.info({ clients }, 'reloaded');
    })
    .catch((error: unknown) => {
      const lines = (error instanceof Error ? error.message : String(error)).split('\n');
      for (const line of lines) log.error(`not reloaded, the old rules hold: ${line}`);
    })
    .finally(() => notify.tell('READY=1'));
}

/** Members of this group may talk to the daemon. Without the group only its own user may. */
function groupId(name: string): number | undefined {
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  const id = Number(line?.split(':')[2]);
  return Number.isInteger(id) ? id : undefined;
}

/** What this host cannot do is a wrong configuration; what is taken or failed did not work. */
const EXIT_OF_CAPTURE = { 'not-permitted': 3, unsupported: 2, 'groups-taken': 1, 'port-in-use': 1, unavailable: 1 } as const;

function plain(error: unknown): unknown {
  if (error instanceof LedgerHeldError) return new CommandError(1, error.message);
  if (error instanceof CaptureError) return new CommandError(EXIT_OF_CAPTURE[error.fault], error.message);
  return asCommandError(error);
}
