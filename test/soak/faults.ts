// What befalls the server during the soak, one after the other, and when a knock may be lost for it. Only what ends the process and what makes the
// kernel refuse excuses anything, and a clock that is set, for as long as the tags are armed anew; a reload, a flush or a renamed log excuses nothing.
import { setTimeout as moment } from 'node:timers/promises';
import { ReloadReport } from '../../daemon/control/messages.ts';
import { failing } from '../lab/failing.ts';
import type { Ground } from './ground.ts';
import type { Event } from './hour.ts';

const REFUSAL_MS = 1000;
/** What was sent at the very end of a fault may still fall into it; the daemon works off what waited. */
const AFTERMATH_MS = 2000;
/** Tags are armed anew a moment after the daemon has noticed that the clock was set. */
const SET_ANEW_MS = 500;

export class Faults {
  readonly #ground: Ground;
  readonly #spans: { readonly from: number; to: number }[] = [];
  #versions = 0;
  readonly counts = new Map<Event, number>();
  readonly #last = new Map<Event, number>();

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** Whether a fault that excuses a lost knock was there at some moment in between. */
  excuses(from: number, to: number): boolean {
    return this.#spans.some((span) => span.from <= to && span.to >= from);
  }

  /** How long ago each kind came last, for whoever looks for a cause. */
  recent(): string {
    const now = performance.now();
    const ages = [...this.#last].map(([event, at]) => [event, now - at] as const).toSorted(([, a], [, b]) => a - b);
    return ages.map(([event, age]) => `${event} ${(age / 1000).toFixed(1)} s`).join(', ');
  }

  async bring(event: Event): Promise<void> {
    this.#last.set(event, performance.now());
    this.counts.set(event, (this.counts.get(event) ?? 0) + 1);
    switch (event) {
      case 'kills':
        return this.#during(async () => {
          await this.#ground.postern.killHard();
          await this.#ground.start();
        });
      case 'stops':
        return this.#during(async () => {
          await this.#ground.postern.stop();
          await this.#ground.start();
        });
      case 'refusals':
        return this.#during(async () => {
          const recover = await failing(this.#ground.postern.daemon.pid, { calls: ['sendto', 'sendmsg'], error: 'ENOMEM' });
          await moment(REFUSAL_MS);
          await recover();
        });
      case 'reloads': {
        this.#versions += 1;
        this.#ground.writeRules(this.#versions);
        if (this.#versions % 2 === 0) process.kill(this.#ground.postern.daemon.pid, 'SIGHUP');
        else await this.#ground.control({ command: 'reload' }, ReloadReport);
        return;
      }
      case 'flushes':
        await this.#ground.server.exec(['nft', 'flush', 'ruleset']);
        return;
      case 'rotations':
        return this.#ground.rotate();
      case 'windows':
        return this.#during(() => this.#ground.nextMinute(), SET_ANEW_MS);
      default:
        throw new Error(`${event} is traffic`);
    }
  }

  async #during(fault: () => Promise<void>, aftermathMs = AFTERMATH_MS): Promise<void> {
    const span = { from: performance.now(), to: Number.POSITIVE_INFINITY };
    this.#spans.push(span);
    try {
      await fault();
    } finally {
      span.to = performance.now() + aftermathMs;
    }
  }
}
