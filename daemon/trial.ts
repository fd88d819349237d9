// A trial of the gate: it stands for a while and is taken down again, unless somebody confirms in time over a connection that began while it
// stood. Holds the timer; whoever asks, how the user is told and how the kernel is changed are others' business.
//
// Where it ends: confirmed ──► the gate stays.   time over, cancelled, this process stopped ──► gate down.
//                this process killed ──► the kernel takes the gate down (5.12 and later: it belongs to our socket), and the
//                daemon that systemd starts next goes on with the trial from its note, or leaves the gate down when time is over.
import type { Clock } from './clock.ts';
import { CommandError } from './command-error.ts';
import type { Connection, Request, TrialReport } from './control/messages.ts';
import type { GateKeeper } from './gate-keeper.ts';
import { dropNote, notNew, readNote, type TrialNote, writeNote } from './trial-note.ts';

// Tunable
/** How long a process that is there for the trial alone waits until the result was fetched. */
const FETCH_MS = 2000;
/** A process that is there for a trial, which nobody then begins, ends. */
const NOBODY_ASKS_MS = 30_000;
/** A trial must end even while the kernel refuses. */
const RETRY_MS = 1000;

type Ask = Extract<Request, { command: 'try' }>['ask'];

export type TrialOptions = {
  readonly gate: () => Pick<GateKeeper, 'up' | 'down' | 'state'>;
  readonly clock: Pick<Clock, 'boot'>;
  /** Survives this process, not the boot. */
  readonly folder: string;
  readonly bootId: string;
  /** This process is there for one trial alone, and ends with it. */
  readonly alone: boolean;
  readonly report: (level: 'info' | 'warn' | 'error', text: string) => void;
};

export class Trial {
  readonly #options: TrialOptions;
  /** Resolves when a process that is there for one trial alone may end. */
  readonly over: Promise<void>;
  readonly #resolveOver: () => void;
  #phase: TrialReport['phase'] = 'none';
  #note: TrialNote | undefined;
  #timer: NodeJS.Timeout | undefined;
  #queue: Promise<void> = Promise.resolve();

  constructor(options: TrialOptions) {
    this.#options = options;
    let resolveOver: () => void = () => undefined;
    this.over = new Promise((resolve) => {
      resolveOver = resolve;
    });
    this.#resolveOver = () => {
      if (options.alone) resolveOver();
    };
    // Before anybody can ask: what an earlier run of the daemon left. One trial alone is over with its process.
    const left = options.alone ? undefined : readNote(options.folder, options.bootId);
    const isOver = left !== undefined && left.endsBootMs <= options.clock.boot();
    // Stopped in order, and started when the time was over: that is an administrator who wants the daemon.
    if (left === undefined || (left.stopped && isOver)) return;
    this.#note = left;
    this.#phase = isOver ? 'taken-down' : 'running';
  }

  /** What to do with the gate at a start: go on with a trial that an earlier run left, leave the gate down when its time is over. */
  startUp(): () => Promise<void> {
    const { gate, alone } = this.#options;
    const left = this.#note;
    if (left !== undefined) return () => this.#inTurn(() => this.#resume(left));
    this.#forget();
    if (!alone) return () => gate().up();
    setTimeout(this.#resolveOver, NOBODY_ASKS_MS).unref();
    return async () => undefined;
  }

  async answer(ask: Ask): Promise<TrialReport> {
    switch (ask.action) {
      case 'begin':
        await this.#inTurn(() => this.#begin(ask.seconds, ask.connection));
        break;
      case 'confirm':
        await this.#inTurn(() => this.#confirm(ask.connection));
        break;
      case 'cancel':
        await this.#inTurn(async () => {
          this.#requireRunning();
          await this.#takeDown('cancelled');
        });
        break;
      case 'look':
        if (ask.collect && (this.#phase === 'kept' || this.#phase === 'taken-down')) setImmediate(this.#resolveOver);
        break;
    }
    return this.#report();
  }

  /** `gate up` and `gate down` in the middle would leave it open what the trial's end means. */
  refuseWhileRunning(): void {
    if (this.#phase === 'running')
      throw new CommandError(1, 'a trial is under way: "posternd try --confirm" or "posternd try --cancel" ends it');
  }

  /** An orderly end of the process is no confirmation. A daemon that is started again in time goes on with the trial. */
  stop(): Promise<void> {
    return this.#inTurn(async () => {
      const note = this.#note;
      if (this.#phase !== 'running' || note === undefined) return;
      await this.#takeDown('the process was stopped');
      this.#keep({ ...note, stopped: true });
    });
  }

  async #begin(seconds: number, connection: Connection | null): Promise<void> {
    const { gate, clock, bootId } = this.#options;
    this.refuseWhileRunning();
    if (gate().state() === 'up')
      throw new CommandError(1, 'the gate is up already, there is nothing to try: "posternd gate down" opens it first');
    const now = clock.boot();
    const note = { boot: bootId, beganBootMs: now, endsBootMs: now + seconds * 1000, connection, stopped: false };
    this.#keep(note);
    try {
      await gate().up({ passing: true });
    } catch (error) {
      this.#forget();
      throw error;
    }
    this.#run(note);
    this.#options.report('info', `a trial of the gate began: ${seconds} s`);
  }

  async #resume(note: TrialNote): Promise<void> {
    const { gate, report } = this.#options;
    // Confirmed or cancelled before the gate was on its way up.
    if (this.#note !== note) return;
    if (this.#phase === 'taken-down') {
      this.#forget();
      this.#note = undefined;
      report('warn', 'a trial of the gate ran out while no daemon ran: the gate stays down; "posternd gate up" closes it');
      await gate().down();
      return;
    }
    await gate().up({ passing: true });
    if (note.stopped) this.#keep({ ...note, stopped: false });
    this.#run(note);
    report('warn', 'going on with the trial of the gate that was under way');
  }

  #run(note: TrialNote): void {
    this.#note = note;
    this.#phase = 'running';
    this.#wait(note.endsBootMs - this.#options.clock.boot());
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#inTurn(async () => {
        // Whoever confirmed at the last moment was first.
        if (this.#phase === 'running') await this.#takeDown('nobody confirmed in time');
      }).catch((error: unknown) => {
        this.#options.report(
          'error',
          `the gate could not be taken down: ${error instanceof Error ? error.message : String(error)}; trying again`,
        );
        this.#wait(RETRY_MS);
      });
    }, ms);
  }

  async #confirm(connection: Connection | null): Promise<void> {
    const { gate, report } = this.#options;
    this.#requireRunning();
    const why = this.#note === undefined ? undefined : notNew(this.#note, connection);
    if (why !== undefined) throw new CommandError(1, why);
    await gate().up();
    this.#end('kept');
    report('info', 'the trial of the gate was confirmed: the gate stays');
  }

  async #takeDown(why: string): Promise<void> {
    await this.#options.gate().down();
    this.#end('taken-down');
    this.#options.report('warn', `the trial of the gate is over (${why}): the gate is down`);
  }

  #end(phase: 'kept' | 'taken-down'): void {
    clearTimeout(this.#timer);
    this.#forget();
    this.#note = undefined;
    this.#phase = phase;
    setTimeout(this.#resolveOver, FETCH_MS).unref();
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  #requireRunning(): void {
    if (this.#phase !== 'running') throw new CommandError(1, 'no trial is under way: "posternd try" begins one');
  }

  #report(): TrialReport {
    const left = this.#note === undefined ? 0 : this.#note.endsBootMs - this.#options.clock.boot();
    return { phase: this.#phase, remaining_seconds: Math.max(0, Math.round(left / 100) / 10), alone: this.#options.alone };
  }

  #keep(note: TrialNote): void {
    if (!this.#options.alone) writeNote(this.#options.folder, note);
  }

  #forget(): void {
    if (!this.#options.alone) dropNote(this.#options.folder);
  }
}
