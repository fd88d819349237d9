// How much of the sources a fuzzing run saw, file by file: edges over all executions, and lines by running what it kept once more with a counter at
// every statement.
import type { Engine } from './engine.ts';
import { type LoadedTarget, loadTarget } from './load-target.ts';

export type FileCoverage = { readonly file: string; readonly lines: Share; readonly edges: Share; readonly missed: readonly string[] };
export type Share = { readonly taken: number; readonly all: number };

/** Of the files that are the target's business. */
export async function coverageOf(loaded: LoadedTarget, engine: Engine): Promise<readonly FileCoverage[]> {
  const lines = await linesOf(loaded, engine.corpus);
  return loaded.target.covers.map((file) => {
    const edges = loaded.instrumented.edges
      .map((edge, index) => ({ ...edge, taken: engine.isTaken(index) }))
      .filter((edge) => edge.file === file);
    if (edges.length === 0) throw new Error(`fuzz: ${loaded.name} covers ${file}, which it does not use`);
    return {
      file,
      lines: lines(file),
      edges: { taken: edges.filter(({ taken }) => taken).length, all: edges.length },
      missed: edges.filter(({ taken }) => !taken).map(({ line, kind }) => `${file}:${line} ${kind}`),
    };
  });
}

async function linesOf({ name }: LoadedTarget, inputs: readonly Uint8Array[]): Promise<(file: string) => Share> {
  const { target, statements, instrumented } = await loadTarget(name, { countStatements: true });
  for (const input of inputs) await target.run(input.slice());
  return (file) => {
    const lines = new Map<number, boolean>();
    instrumented.statements.forEach((statement, index) => {
      if (statement.file === file) lines.set(statement.line, (lines.get(statement.line) ?? false) || (statements[index] ?? 0) > 0);
    });
    return { taken: [...lines.values()].filter(Boolean).length, all: lines.size };
  };
}

export function percent({ taken, all }: Share): string {
  return all === 0 ? '—' : `${((100 * taken) / all).toFixed(taken === all ? 0 : 1)} %`;
}
