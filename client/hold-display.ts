// What `knock hold` shows: a countdown on a terminal, a line for each change elsewhere, an object for each event with --json.
import type { KnockOptions } from './options.ts';
import { formatMs } from './report.ts';
import type { World } from './world.ts';

/** The stable words of `event` and the fields that come with them (see --help): only ever add. */
export type HoldEvent =
  | { readonly event: 'open' | 'sent'; readonly address: string; readonly afterMs: number | null; readonly everyMs: number }
  | { readonly event: 'renewed'; readonly looked: boolean }
  | { readonly event: 'gap'; readonly everyMs: number; readonly shortened: boolean }
  | { readonly event: 'lost'; readonly code: string; readonly message: string }
  | { readonly event: 'back' }
  | { readonly event: 'moved'; readonly from: string; readonly to: string }
  | { readonly event: 'slept'; readonly ms: number }
  | { readonly event: 'closed' | 'left-open' };

const REDRAW_MS = 1000;

export class HoldDisplay {
  readonly #host: string;
  readonly #output: KnockOptions['output'];
  readonly #world: World;
  readonly #columns: number;
  readonly #startedMs: number;
  #state: 'opening' | 'open' | 'sent' | 'lost' = 'opening';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: {
    readonly host: string;
    readonly output: KnockOptions['output'];
    /** Of the terminal; 0 where there is none. */
    readonly columns: number;
    readonly world: World;
  }) {
    this.#host = options.host;
    this.#output = options.output;
    this.#world = options.world;
    this.#columns = options.output === 'text' || options.output === 'verbose' ? options.columns : 0;
    this.#startedMs = options.world.monotonicMs();
  }

  /** Begins the countdown; `nextKnockMs` is a monotonic time. */
  countDown(nextKnockMs: () => number): void {
    if (this.#columns === 0) return;
    const draw = () => {
      const leftS = Math.max(0, Math.ceil((nextKnockMs() - this.#world.monotonicMs()) / 1000));
      const held = spanText(this.#world.monotonicMs() - this.#startedMs);
      const state = this.#state === 'sent' ? 'knocking at' : this.#state === 'lost' ? 'NOT open on' : 'open on';
      const line = `${state} ${this.#host} · next knock in ${leftS} s · since ${held} · Ctrl-C ends it`;
      // A line that wraps could not be drawn over.
      this.#world.out(`\r\x1b[K${line.slice(0, this.#columns - 1)}`);
    };
    this.#timer = setInterval(draw, REDRAW_MS);
    draw();
  }

  show(event: HoldEvent): void {
    if (event.event === 'lost') this.#state = 'lost';
    if (event.event === 'back' || event.event === 'open') this.#state = 'open';
    if (event.event === 'sent') this.#state = 'sent';
    if (this.#output === 'json') {
      this.#world.out(`${JSON.stringify({ at: new Date(this.#world.now()).toISOString(), host: this.#host, ...event })}\n`);
      return;
    }
    const text = eventText(event);
    if (event.event === 'renewed' ? this.#output === 'verbose' : this.#output !== 'quiet') this.#line(text);
  }

  /** No countdown any more. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#timer !== undefined) this.#world.out('\r\x1b[K');
    this.#timer = undefined;
  }

  #line(text: string): void {
    this.#world.out(`${this.#timer === undefined ? '' : '\r\x1b[K'}${text}\n`);
  }
}

function eventText(event: HoldEvent): string {
  switch (event.event) {
    case 'open':
      return `open after ${formatMs(event.afterMs ?? 0)}; knocking again every ${spanText(event.everyMs)}`;
    case 'sent':
      return `knock sent to ${event.address} (not checked); knocking again every ${spanText(event.everyMs)}`;
    case 'renewed':
      return event.looked ? 'knocked again: open all the time' : 'knocked again';
    case 'gap':
      return event.shortened
        ? `it had closed before this knock: the server grants less than was thought, knocking every ${spanText(event.everyMs)} from now on`
        : 'it had closed before this knock: open again';
    case 'lost':
      return `${event.message}: trying on`;
    case 'back':
      return 'open again';
    case 'moved':
      return `this machine's address changed (${event.from} → ${event.to}): knocking again`;
    case 'slept':
      return `back after ${spanText(event.ms)} of sleep: knocking again`;
    case 'closed':
      return 'closed';
    case 'left-open':
      return 'left open: it closes when the grant runs out';
  }
}

/** `45 s`, `12 min 3 s`, `3 h 12 min`. */
function spanText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min${seconds % 60 === 0 ? '' : ` ${seconds % 60} s`}`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
