// Every fuzzing target for a short while, with a fixed seed: what was kept and what once broke something is run again, then new inputs. And the
// fuzzer itself: what its counters count, and that it finds what blind changes do not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { transformSync } from 'esbuild';
import { readCorpus, targetNames } from '../fuzz/corpus-file.ts';
import { Engine } from '../fuzz/engine.ts';
import { EDGES_NAME, instrument, nothingInstrumented, STATEMENTS_NAME } from '../fuzz/instrument.ts';
import { type LoadedTarget, loadTarget } from '../fuzz/load-target.ts';
import { shrunk, smallCorpus } from '../fuzz/shrink.ts';

/** Bounded by their number and not by time: the same on every machine. `npm run fuzz` does millions. */
const RUNS = 400;
/** Until a planted fault must be found; each was found within 3,000 runs. What the dictionary holds, and so the order of inputs, changes with the sources. */
const MOST_RUNS = 60_000;
const SEED = 5;

describe('short fuzzing', () => {
  for (const name of targetNames()) {
    test(`${name}: nothing breaks, and inputs come through to every stage`, async () => {
      const loaded = await loadTarget(name);
      const engine = new Engine(loaded, SEED);
      await engine.begin(readCorpus(name));
      const known = engine.executions;
      while (engine.executions < known + RUNS) await engine.step();
      const [finding] = engine.findings;
      assert.equal(
        finding,
        undefined,
        finding && `seed ${SEED}: ${finding.stack}\ninput in base64: ${Buffer.from(finding.input).toString('base64')}`,
      );
      const missing = loaded.target.mustReach.filter((stage) => !engine.stages.has(stage));
      assert.deepEqual(missing, [], `stages that no input reached; reached: ${[...engine.stages.keys()].join(' ')}`);
    });
  }
});

/** What the oracle of the packet path has to see: each was once, or might have been, a slip of the hand. */
const FAULTS: readonly { readonly what: string; readonly file: string; readonly from: string; readonly to: string }[] = [
  { what: 'an unknown flag is taken', file: 'protocol/body.ts', from: '(flags & ~KNOWN_FLAGS) !== 0', to: 'false' },
  { what: 'padding may be anything', file: 'protocol/body.ts', from: '!isZero(bytes.subarray(requests.end))', to: 'false' },
  { what: 'a range may run backwards', file: 'protocol/body.ts', from: 'if (last < first)', to: 'if (false)' },
  { what: 'a close may have a lifetime', file: 'protocol/body.ts', from: 'once || lifetimeSeconds !== 0', to: 'once' },
  { what: 'a source without the bound bit', file: 'protocol/body.ts', from: 'if (source === undefined)', to: 'if (false)' },
  { what: 'sent at any time', file: 'protocol/packet.ts', from: 'if (sentIn !== window)', to: 'if (false)' },
  { what: 'no signature is verified', file: 'protocol/packet.ts', from: 'if (!isProof(', to: 'if (false && !isProof(' },
  { what: 'four bytes of a tag are enough', file: 'daemon/open/tag-page.ts', from: 'byte < TAG_BYTES', to: 'byte < 4' },
  { what: 'an unwritable ledger opens all the same', file: 'daemon/open/open.ts', from: "outcome === 'unwritable'", to: 'false' },
  { what: 'a window that is over is accepted', file: 'daemon/open/open.ts', from: 'window < accepted.first', to: 'false' },
];

describe('a planted fault in the packet path is found', () => {
  for (const { what, file, from, to } of FAULTS) {
    test(what, async () => {
      const edit = (source: string, path: string) => {
        if (path !== file) return source;
        assert.ok(source.includes(from), `${file} has no ${from}`);
        return source.replace(from, to);
      };
      const engine = new Engine(await loadTarget('packet', { edit }), SEED);
      await engine.begin(readCorpus('packet'));
      for (let runs = 0; runs < MOST_RUNS && engine.findings.length === 0; runs += 1) await engine.step();
      assert.match(engine.findings[0]?.what ?? 'nothing', / instead of |marks after/);
    });
  }
});

/** A target made of one function `run` in TypeScript. */
function plant(source: string, countStatements = false): LoadedTarget {
  const instrumented = nothingInstrumented();
  const { code } = transformSync(instrument(source, 'planted.ts', instrumented, countStatements), { loader: 'ts', format: 'cjs' });
  const edges = new Uint8ClampedArray(Math.ceil(instrumented.edges.length / 4) * 4);
  const statements = new Uint8ClampedArray(instrumented.statements.length);
  const planted = { exports: {} as { run: (input: Uint8Array) => string } };
  new Function('module', EDGES_NAME, STATEMENTS_NAME, code)(planted, edges, statements);
  const target = {
    about: '',
    covers: [],
    kind: 'bytes' as const,
    maxBytes: 64,
    seeds: [new Uint8Array(8)],
    run: planted.exports.run,
    mustReach: [],
  };
  return { name: 'planted', target, instrumented, edges, statements };
}

const DEEP = `
  export const run = (input: Uint8Array): string => {
    if (input[0] !== 0x50) return 'nothing';
    if (input[1] !== 0x4f) return '1';
    if (input[2] !== 0x53) return '2';
    if (input[3] !== 0x54) return '3';
    throw new TypeError('deep');
  };`;

describe('the fuzzer', () => {
  test('counts each way that control can take, in a program that does the same as before', async () => {
    const source = `
      type Shape = { readonly kind: 'a' } | { readonly kind: 'b' };
      function over(a: string): string;
      function over(a: unknown): string { return \`\${a}\`; }
      class Counter { static of(n = 3) { return n; } #x = 1; get x(): number { return this.#x; } }
      const arrow = (n: number) => ({ n: n > 1 ? 'many' : n === 1 ? 'one' : 'none' }) as const;
      export function run(input: Uint8Array): string {
        const [first = 9] = input;
        let out = first > 3 || first === 2 ? over('x') : over(arrow(first).n);
        if (first > 1) if (first > 2) out += '>2'; else out += '=2';
        for (const byte of input) out += byte;
        switch (first) { case 1: case 2: out += 's'; break; default: { out += 'd'; } }
        let memo: string | undefined; memo ??= 'm'; out += memo;
        try { if (first === 7) throw new Error('seven'); } catch { out += 'c'; }
        do out += '.'; while (out.length < 3);
        return out + Counter.of() + new Counter().x;
      }`;
    const loaded = plant(source, true);
    const plain = { exports: {} as { run: (input: Uint8Array) => string } };
    new Function('module', transformSync(source, { loader: 'ts', format: 'cjs' }).code)(plain);
    for (const input of [[], [0], [1], [2], [3], [7, 7], [9, 9, 9]]) {
      assert.equal(loaded.target.run(Uint8Array.from(input)), plain.exports.run(Uint8Array.from(input)), String(input));
    }
    const missed = loaded.instrumented.edges.filter((_, edge) => loaded.edges[edge] === 0);
    assert.deepEqual(missed, []);
    assert.equal(loaded.instrumented.edges.length, 26);
    assert.ok(loaded.statements.every((times) => times > 0));
    // Four are counted for a loop of four.
    loaded.edges.fill(0);
    await loaded.target.run(Uint8Array.of(9, 9, 9, 9));
    const loop = loaded.instrumented.edges.findIndex(({ kind, line }) => kind === 'loop' && line === 11);
    assert.equal(loaded.edges[loop], 4);
  });

  test('finds what lies behind four bytes, and makes it small', async () => {
    const loaded = plant(DEEP);
    const engine = new Engine(loaded, 1);
    await engine.begin([]);
    while (engine.findings.length === 0 && engine.executions < 200_000) await engine.step();
    const [finding] = engine.findings;
    assert.equal(finding?.what, 'deep');
    assert.deepEqual([...engine.stages.keys()].sort(), ['1', '2', '3', 'finding', 'nothing']);
    const small = await shrunk(finding?.input ?? new Uint8Array(), async (input) =>
      Buffer.from(input).toString('latin1').startsWith('POST'),
    );
    assert.equal(Buffer.from(small).toString('latin1'), 'POST');
    assert.deepEqual((await smallCorpus(loaded, engine.corpus)).map((input) => input.length).sort(), [0, 1, 2, 3]);
  });

  test('finds nothing there without its counters: it is they that lead it', async () => {
    const loaded = plant(DEEP);
    const blind: LoadedTarget = {
      ...loaded,
      target: {
        ...loaded.target,
        run: async (input) => {
          await loaded.target.run(input);
          return 'same';
        },
      },
      edges: new Uint8ClampedArray(loaded.edges.length),
    };
    const engine = new Engine(blind, 1);
    await engine.begin([]);
    while (engine.executions < 60_000) await engine.step();
    assert.deepEqual(engine.findings, []);
  });

  test('does the same again with the same seed', async () => {
    const history = async () => {
      const engine = new Engine(plant(DEEP), 77);
      await engine.begin([]);
      while (engine.executions < 3000) await engine.step();
      return [...engine.corpus.map((input) => Buffer.from(input).toString('hex')), ...engine.stages].join();
    };
    assert.equal(await history(), await history());
  });

  test('reports what takes too long once it has taken too long five times', async () => {
    const endOf = (milliseconds: number) => `{
      const before = process.cpuUsage();
      for (let sum = 0; ; ) {
        for (let step = 0; step < 300_000; step += 1) sum = (sum + step) | 0;
        const { user, system } = process.cpuUsage(before);
        if (user + system > ${milliseconds * 1000}) break;
      }
    }`;
    const loaded = plant(`export const run = (input: Uint8Array) => { if (input.length > 20) ${endOf(450)} return 'done'; }`);
    const engine = new Engine(loaded, 1);
    await engine.begin([]);
    for (let tries = 0; tries < 1000 && engine.findings.length === 0; tries += 1) await engine.step();
    assert.match(engine.findings[0]?.what ?? '', /^takes \d+ ms for \d+ bytes$/);
  });
});
