// A firewall in memory with the real interface: for tests of what the daemon asks for. That the kernel does it is tested elsewhere.

import { type Firewall, FirewallError, type Opening, openingKey, type TimedOpening } from '../../daemon/firewall/firewall.ts';
import { formatPortRange } from '../../protocol/ports.ts';

export class MemoryFirewall {
  readonly openings = new Map<string, TimedOpening>();
  readonly armed = new Set<string>();
  readonly cut: string[] = [];
  installs = 0;
  /** While set, the kernel refuses openings. */
  failing = false;
  present = false;
  /** The kernel refuses to close what holds this one. */
  stuckAt: string | undefined;
  /** While set, the kernel takes its time with each opening: it waits for this, then does or refuses it. */
  slowness: Promise<void> | undefined;
  /** While set, a gate that is loaded takes the place of the old one only after this. */
  loading: Promise<void> | undefined;
  /** While set, the kernel refuses to shut anything, though the gate stands. */
  stuck = false;
  /** While set, the kernel refuses to arm tags. */
  full = false;
  /** What the last installed gate protects, as text. */
  protected: readonly string[] = [];

  /** The openings that stand, as text. */
  keys(): readonly string[] {
    return [...this.openings.keys()].toSorted();
  }

  remainingOf(key: string): number | undefined {
    return this.openings.get(key)?.remainingMs;
  }

  firewall(): Firewall {
    return {
      name: 'nftables',
      install: async (layout, openings) => {
        if (this.loading !== undefined) await this.loading;
        this.installs += 1;
        this.protected = layout.protect.map(formatPortRange);
        this.present = true;
        this.armed.clear();
        this.openings.clear();
        this.#put(openings);
        return { fresh: false };
      },
      intact: async () => this.present,
      watch: () => undefined,
      open: (openings) => {
        const open = (): void => {
          this.#refuse(this.failing);
          this.#put(openings);
        };
        if (this.slowness !== undefined) return this.slowness.then(open);
        open();
        return undefined;
      },
      close: async (openings: readonly Opening[], cut: boolean) => {
        if (this.slowness !== undefined) await this.slowness;
        this.#refuse((this.stuck && openings.length > 0) || openings.some((opening) => openingKey(opening) === this.stuckAt));
        for (const opening of openings) {
          this.openings.delete(openingKey(opening));
          if (cut) this.cut.push(openingKey(opening));
        }
      },
      standing: async () => [...this.openings.values()],
      arm: async (tags) => {
        this.#refuse(this.full);
        for (const tag of tags) this.armed.add(Buffer.from(tag).toString('hex'));
      },
      disarm: async (tags) => {
        this.#refuse();
        for (const tag of tags) this.armed.delete(Buffer.from(tag).toString('hex'));
      },
      disarmAll: async () => {
        this.#refuse();
        this.armed.clear();
      },
      counters: async () => ({ knocks: 0, junk: 0, refused: 0, ended: 0 }),
      remove: async () => {
        this.present = false;
        this.openings.clear();
        this.armed.clear();
      },
      release: async () => undefined,
    };
  }

  /** As the kernel does without the table. */
  #refuse(also = false): void {
    if (also || !this.present) throw new FirewallError('GATE_MISSING', 'the gate is not there', 'load the gate');
  }

  #put(openings: readonly TimedOpening[]): void {
    for (const timed of openings) this.openings.set(openingKey(timed.opening), timed);
  }
}
