// Makes a corpus small: as few inputs as reach the same edges and stages, each with as little in it as still does. Also makes a finding small.
import type { LoadedTarget } from './load-target.ts';

/** Tunable: runs that one input may cost. */
const MOST_RUNS = 300;

/** What an input reaches, as one text for each thing. */
async function reached({ target, edges }: LoadedTarget, input: Uint8Array): Promise<ReadonlySet<string> | undefined> {
  edges.fill(0);
  let stage: string;
  try {
    stage = await target.run(input.slice());
  } catch {
    return undefined;
  }
  const things = new Set([stage]);
  edges.forEach((times, edge) => {
    if (times > 0) things.add(String(edge));
  });
  return things;
}

/** The shortest inputs first: what a long one reaches alone is why it stays. */
export async function smallCorpus(loaded: LoadedTarget, corpus: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
  const covered = new Set<string>();
  const kept: Uint8Array[] = [];
  for (const input of corpus.toSorted((a, b) => a.length - b.length)) {
    const fresh = [...((await reached(loaded, input)) ?? [])].filter((thing) => !covered.has(thing));
    if (fresh.length === 0) continue;
    for (const thing of fresh) covered.add(thing);
    kept.push(
      await shrunk(input, async (smaller) => {
        const things = await reached(loaded, smaller);
        return things !== undefined && fresh.every((thing) => things.has(thing));
      }),
    );
  }
  return kept;
}

/** What is left when every piece is taken out whose absence `holds` does not mind. */
export async function shrunk(input: Uint8Array, holds: (input: Uint8Array) => Promise<boolean>): Promise<Uint8Array> {
  let best = input.slice();
  let runs = 0;
  for (let size = Math.ceil(best.length / 2); size >= 1 && runs < MOST_RUNS; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.length && runs < MOST_RUNS; ) {
      const smaller = new Uint8Array([...best.subarray(0, at), ...best.subarray(at + size)]);
      runs += 1;
      if (await holds(smaller)) best = smaller;
      else at += size;
    }
  }
  return best;
}
