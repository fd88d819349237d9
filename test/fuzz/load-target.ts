// Builds a target with counters in all of the product's sources that it uses, and loads it. What others wrote (yaml, zod, tweetnacl) is left as it is.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { EDGES_NAME, type Instrumented, instrument, nothingInstrumented, STATEMENTS_NAME } from './instrument.ts';
import { PROJECT } from './project.ts';
import type { FuzzTarget } from './target.ts';

const BUILT = join(PROJECT, 'dist', 'test', 'fuzz', 'built');
const PRODUCT = /^(protocol|daemon|client|shell)\//;

/** A module is loaded once for each name. */
let loads = 0;

export type LoadedTarget = {
  readonly name: string;
  readonly target: FuzzTarget;
  readonly instrumented: Instrumented;
  /** How often each edge was taken since it was last cleared; 255 is 255 or more. */
  readonly edges: Uint8ClampedArray;
  readonly statements: Uint8ClampedArray;
};

export type LoadOptions = {
  /** For reports; it costs time. */
  readonly countStatements?: boolean;
  /** Plants a fault in a source, to see whether it is found. */
  readonly edit?: (source: string, file: string) => string;
};

export async function loadTarget(
  name: string,
  { countStatements = false, edit = (source) => source }: LoadOptions = {},
): Promise<LoadedTarget> {
  const instrumented = nothingInstrumented();
  loads += 1;
  // Elsewhere than dist, so that what tsc made of a target is never taken for its source.
  const file = join(BUILT, `${name}-${process.pid}-${loads}.mjs`);
  mkdirSync(BUILT, { recursive: true });
  await build({
    entryPoints: [join(PROJECT, 'test', 'fuzz', 'targets', `${name}.ts`)],
    outfile: file,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    banner: { js: `const ${EDGES_NAME} = globalThis.${EDGES_NAME}, ${STATEMENTS_NAME} = globalThis.${STATEMENTS_NAME};` },
    plugins: [counting(instrumented, countStatements, edit)],
    logLevel: 'error',
  });
  // Room for a multiple of four bytes: the engine looks at four at once.
  const edges = new Uint8ClampedArray(Math.ceil(instrumented.edges.length / 4) * 4);
  const statements = new Uint8ClampedArray(instrumented.statements.length);
  Object.assign(globalThis, { [EDGES_NAME]: edges, [STATEMENTS_NAME]: statements });
  try {
    const { target } = (await import(pathToFileURL(file).href)) as { readonly target: FuzzTarget };
    return { name, target, instrumented, edges, statements };
  } finally {
    rmSync(file, { force: true });
  }
}

function counting(instrumented: Instrumented, countStatements: boolean, edit: NonNullable<LoadOptions['edit']>): Plugin {
  return {
    name: 'counting',
    setup: ({ onLoad }) =>
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const file = relative(PROJECT, path);
        const source = edit(readFileSync(path, 'utf8'), file);
        return { loader: 'ts', contents: PRODUCT.test(file) ? instrument(source, file, instrumented, countStatements) : source };
      }),
  };
}
