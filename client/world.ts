// What the client needs from its surroundings, as arguments: the environment, clocks, randomness, output. Built once, in main.ts.
import type { UnixMs } from '../protocol/brand.ts';

export type World = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: string;
  readonly home: string;
  readonly now: () => UnixMs;
  readonly monotonicMs: () => number;
  readonly random: (length: number) => Uint8Array;
  /** Results. */
  readonly out: (text: string) => void;
  /** Errors and remarks. */
  readonly err: (text: string) => void;
  /** Whether remarks may be colored: stderr is a terminal and NO_COLOR is not set. */
  readonly color: boolean;
  /** The same for results and stdout. */
  readonly colorOut: boolean;
};
