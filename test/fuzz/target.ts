// What is fuzzed: one function of the product with what must hold of it, whatever it is given.
import type { Random } from './random.ts';

export type FuzzTarget = {
  /** What is fuzzed, in one line. */
  readonly about: string;
  /** Sources whose coverage is this target's business: paths in the project. */
  readonly covers: readonly string[];
  /** Text is changed in lines and words as well. */
  readonly kind: 'bytes' | 'text';
  readonly maxBytes: number;
  /** Sound inputs to begin with. */
  readonly seeds: readonly (Uint8Array | string)[];
  /** What the input is made of, besides the words that stand in the sources. */
  readonly dictionary?: readonly (Uint8Array | string)[];
  /** A new input that is nearly sound, made from its parts: what blind changes would not come upon. */
  readonly generate?: (random: Random) => Uint8Array;
  /** Changes an input in a way that only its format knows: sets its lengths and checksums right, or a field at its place. */
  readonly change?: (input: Uint8Array, random: Random) => Uint8Array | undefined;
  /** Runs it once and gives how far the input came, a word out of few; throws when something does not hold. */
  readonly run: (input: Uint8Array) => string | Promise<string>;
  /** Stages that a run of some length must reach: a target that no input passes proves nothing. */
  readonly mustReach: readonly string[];
};
