// The last decisions about people whom the daemon knows, for who watches. An observer with a short memory; junk is not remembered.
import type { UnixMs } from '../protocol/brand.ts';
import { formatDuration } from '../protocol/duration.ts';
import type { RecentLine } from './control/messages.ts';
import type { Decision } from './decision.ts';
import { safeText } from './safe-text.ts';

/** Tunable: more than fits on a screen. */
const REMEMBERED = 100;

export class Recent {
  readonly #lines: RecentLine[] = [];

  /** An Observer, as a method. */
  observe(decision: Decision, now: UnixMs): void {
    const { kind, client, address } = decision;
    // Without a proven signature anybody may have sent it.
    if (kind === 'dropped' && decision.knock === undefined) return;
    const [event, services, why] = told(decision);
    const time = new Date(now).toISOString();
    this.#lines.push({ time, event, client: client ?? '-', address: address.text, services: [...services], why: safeText(why) });
    if (this.#lines.length > REMEMBERED) this.#lines.shift();
  }

  /** The youngest first. */
  lines(): readonly RecentLine[] {
    return this.#lines.toReversed();
  }
}

function told(decision: Decision): readonly [string, readonly string[], string] {
  switch (decision.kind) {
    case 'dropped':
      return ['refused', [], `${decision.reason}${decision.detail === '' ? '' : ` (${decision.detail})`}`];
    case 'granted':
      return ['granted', decision.services, `for ${formatDuration(decision.lifetimeSeconds)}${decision.prolonged ? ', prolonged' : ''}`];
    default:
      return [decision.kind, decision.services, decision.why];
  }
}
