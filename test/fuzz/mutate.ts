// Changes inputs blindly, as AFL and libFuzzer do: bits, numbers, pieces, words of a dictionary, lines, and pieces of other inputs.
import type { Random } from './random.ts';

export type Mutating = {
  readonly random: Random;
  readonly maxBytes: number;
  readonly text: boolean;
  readonly dictionary: readonly Uint8Array[];
  /** Another input of the corpus. */
  readonly another: () => Uint8Array;
};

type Mutator = (input: Uint8Array, mutating: Mutating) => Uint8Array;

const INTERESTING = [
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  15,
  16,
  17,
  20,
  31,
  32,
  33,
  63,
  64,
  127,
  128,
  255,
  256,
  1023,
  1024,
  4095,
  4096,
  32767,
  32768,
  65535,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];
const LETTERS = new TextEncoder().encode('\n\r\t \0\x1b"\'#:,-.*!?@[]{}()|&=/\\%$<>~^0189azAZ_\x7f');
/** Letters that lie outside ASCII and that a terminal or a reader might mistake. */
const STRANGE = ['\u0085', '\u009b31m', '\u00a0', '\u0130', '\u200b', '\u202e', '\u2028', '\ufeff', '\ufffd', '𝟘', 'é', 'e\u0301'].map(
  (each) => new TextEncoder().encode(each),
);

const BYTE_MUTATORS: readonly Mutator[] = [
  flipBit,
  setByte,
  addToNumber,
  setNumber,
  removePiece,
  insertBytes,
  copyPiece,
  repeatPiece,
  fromAnother,
  useWord,
  useWord,
];
const TEXT_MUTATORS: readonly Mutator[] = [
  setLetter,
  setLetter,
  removePiece,
  copyPiece,
  repeatPiece,
  fromAnother,
  useWord,
  useWord,
  useWord,
  moveLine,
  moveLine,
  setDigits,
  setByte,
];

/** One to many changes, one after the other. Never gives back the array that it was given. */
export function mutated(input: Uint8Array, mutating: Mutating): Uint8Array {
  const { random, maxBytes, text } = mutating;
  const mutators = text ? TEXT_MUTATORS : BYTE_MUTATORS;
  let out: Uint8Array = input.slice();
  const changes = 1 << random.below(5);
  for (let change = 0; change < changes; change += 1) {
    const mutator = random.pick(mutators) ?? flipBit;
    out = mutator(out, mutating);
    if (out.length > maxBytes) out = out.slice(0, maxBytes);
  }
  return out;
}

/** Two inputs, the first part of one and the last part of the other. */
export function spliced(input: Uint8Array, { random, another, maxBytes }: Mutating): Uint8Array {
  const other = another();
  return joined(input.subarray(0, random.below(input.length + 1)), other.subarray(random.below(other.length + 1))).slice(0, maxBytes);
}

/** One piece many times, up to `bytes`: finds what takes the square of the length, or worse. */
export function pumped(input: Uint8Array, bytes: number, random: Random): Uint8Array {
  const [at, end] = piece(input, random, 12);
  const unit = end > at ? input.slice(at, end) : Uint8Array.of(random.pick([32, 42, 92, 34, 45, 58, 91, 0]));
  const times = Math.floor(bytes / unit.length);
  const middle = new Uint8Array(times * unit.length);
  for (let time = 0; time < times; time += 1) middle.set(unit, time * unit.length);
  return joined(joined(input.subarray(0, at), middle), input.subarray(at));
}

function flipBit(input: Uint8Array, { random }: Mutating): Uint8Array {
  if (input.length > 0) {
    const at = random.below(input.length);
    input[at] = (input[at] ?? 0) ^ (1 << random.below(8));
  }
  return input;
}

function setByte(input: Uint8Array, { random }: Mutating): Uint8Array {
  if (input.length > 0) input[random.below(input.length)] = random.below(256);
  return input;
}

function setLetter(input: Uint8Array, { random }: Mutating): Uint8Array {
  const at = random.below(input.length + 1);
  const letter = random.oneIn(12) ? (random.pick(STRANGE) ?? LETTERS) : Uint8Array.of(LETTERS[random.below(LETTERS.length)] ?? 32);
  return replaced(input, at, random.oneIn(2) ? at : at + 1, letter);
}

function addToNumber(input: Uint8Array, { random }: Mutating): Uint8Array {
  const change = random.below(35) - 17;
  return atNumber(input, random, (view, width, little) => {
    if (width === 1) view.setUint8(0, view.getUint8(0) + change);
    else if (width === 2) view.setUint16(0, view.getUint16(0, little) + change, little);
    else view.setUint32(0, view.getUint32(0, little) + change, little);
  });
}

function setNumber(input: Uint8Array, { random }: Mutating): Uint8Array {
  const number = random.oneIn(3) ? input.length - random.below(40) : (random.pick(INTERESTING) ?? 0);
  return atNumber(input, random, (view, width, little) => {
    if (width === 1) view.setUint8(0, number);
    else if (width === 2) view.setUint16(0, number, little);
    else view.setUint32(0, number, little);
  });
}

function atNumber(input: Uint8Array, random: Random, set: (view: DataView, width: number, little: boolean) => void): Uint8Array {
  const width = 1 << random.below(3);
  if (input.length >= width) {
    const at = random.below(input.length - width + 1);
    set(new DataView(input.buffer, input.byteOffset + at, width), width, random.oneIn(2));
  }
  return input;
}

function removePiece(input: Uint8Array, { random }: Mutating): Uint8Array {
  const [at, end] = piece(input, random, 64);
  return replaced(input, at, end, new Uint8Array(0));
}

function insertBytes(input: Uint8Array, { random }: Mutating): Uint8Array {
  const at = random.below(input.length + 1);
  const count = 1 + random.below(random.oneIn(8) ? 64 : 4);
  return replaced(input, at, at, random.oneIn(2) ? new Uint8Array(count).fill(random.below(256)) : random.bytes(count));
}

function copyPiece(input: Uint8Array, { random }: Mutating): Uint8Array {
  const [from, to] = piece(input, random, 64);
  const at = random.below(input.length + 1);
  return replaced(input, at, random.oneIn(2) ? at : at + to - from, input.slice(from, to));
}

function repeatPiece(input: Uint8Array, { random, maxBytes }: Mutating): Uint8Array {
  const [from, to] = piece(input, random, 16);
  const room = Math.max(0, Math.min(random.oneIn(10) ? maxBytes : 200, maxBytes - input.length));
  return to > from ? pumped(input.slice(0), Math.min(room, (to - from) * (1 + random.below(20))), random) : input;
}

function fromAnother(input: Uint8Array, { random, another }: Mutating): Uint8Array {
  const other = another();
  const [from, to] = piece(other, random, 128);
  const at = random.below(input.length + 1);
  return replaced(input, at, random.oneIn(2) ? at : at + to - from, other.slice(from, to));
}

function useWord(input: Uint8Array, { random, dictionary }: Mutating): Uint8Array {
  const word = random.pick(dictionary);
  if (word === undefined) return input;
  const at = random.below(input.length + 1);
  return replaced(input, at, random.oneIn(2) ? at : at + word.length, word);
}

/** Takes a line away, doubles it, or puts it elsewhere. */
function moveLine(input: Uint8Array, { random }: Mutating): Uint8Array {
  const lines = linesOf(input);
  const line = random.pick(lines);
  if (line === undefined) return input;
  const [from, to] = line;
  const [target = 0] = random.pick(lines) ?? [];
  const copy = input.slice(from, to);
  switch (random.below(3)) {
    case 0:
      return replaced(input, from, to, new Uint8Array(0));
    case 1:
      return replaced(input, target, target, copy);
    default: {
      const without = replaced(input, from, to, new Uint8Array(0));
      const at = target > from ? Math.max(0, target - copy.length) : target;
      return replaced(without, at, at, copy);
    }
  }
}

/** Another number where digits stand. */
function setDigits(input: Uint8Array, { random }: Mutating): Uint8Array {
  const isDigit = (at: number) => (input[at] ?? 0) >= 48 && (input[at] ?? 0) <= 57;
  const start = random.below(input.length + 1);
  for (let at = start; at < input.length; at += 1) {
    if (!isDigit(at)) continue;
    let end = at;
    while (isDigit(end)) end += 1;
    const number = random.oneIn(4) ? -random.below(100) : random.oneIn(3) ? random.below(70_000) : (random.pick(INTERESTING) ?? 0);
    return replaced(input, at, end, new TextEncoder().encode(String(number)));
  }
  return input;
}

function linesOf(input: Uint8Array): readonly (readonly [number, number])[] {
  const lines: (readonly [number, number])[] = [];
  let from = 0;
  while (from < input.length) {
    const end = input.indexOf(10, from);
    const to = end < 0 ? input.length : end + 1;
    lines.push([from, to]);
    from = to;
  }
  return lines;
}

function piece(input: Uint8Array, random: Random, most: number): readonly [number, number] {
  const from = random.below(input.length + 1);
  return [from, Math.min(input.length, from + 1 + random.below(random.oneIn(8) ? input.length : most))];
}

function replaced(input: Uint8Array, from: number, to: number, by: Uint8Array): Uint8Array {
  const rest = input.subarray(Math.min(to, input.length));
  const out = new Uint8Array(from + by.length + rest.length);
  out.set(input.subarray(0, from));
  out.set(by, from);
  out.set(rest, from + by.length);
  return out;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
