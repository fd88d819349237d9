// A folder of rule files for one test, and keys that are as good as ssh-keygen's.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { formatProblem } from '../../daemon/problem.ts';
import { loadRuleBook, type RulesConfig } from '../../daemon/rules/load.ts';
import type { RuleBook } from '../../daemon/rules/rulebook.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { type PortRange, parsePortRange } from '../../protocol/ports.ts';

export const NOW = unixMs(Date.UTC(2026, 10, 21, 12));

/** The public line of the n-th test key. */
export function line(n: number, comment = `key${n}`): string {
  return formatPublicLine(secretFromSeed(new Uint8Array(32).fill(n)).publicKey, comment);
}

export type Loaded = { readonly book: RuleBook | undefined; readonly lines: readonly string[] };

/** Writes `files` (names below rules.d, or beside it with ../) and loads them. Paths in problems are shown from the folder. */
export async function load(
  files: Readonly<Record<string, string>>,
  protect: readonly string[] = ['tcp/22', 'tcp/8443'],
  now: UnixMs = NOW,
  more: Partial<Pick<RulesConfig, 'trusted' | 'maxGrants'>> = {},
): Promise<Loaded> {
  const root = mkdtempSync(join(tmpdir(), 'postern-rules-'));
  try {
    const rules = join(root, 'rules.d');
    mkdirSync(rules);
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(rules, name)), { recursive: true });
      writeFileSync(join(rules, name), text);
      chmodSync(join(rules, name), name.includes('psk') ? 0o600 : 0o644);
    }
    const services = new Map([
      ['ssh', [range('tcp/22')]],
      ['admin', [range('tcp/8443')]],
    ]);
    const { book, problems } = await loadRuleBook(
      { rules, services, defaultTtlSeconds: 30, protect: protect.map(range), trusted: [], maxGrants: 32, ...more },
      now,
    );
    return { book, lines: problems.map((problem) => formatProblem(problem).replaceAll(`${rules}/`, '').replaceAll(root, '')) };
  } finally {
    rmSync(root, { recursive: true });
  }
}

function range(text: string): PortRange {
  const result = parsePortRange(text);
  assert.ok(result.ok);
  return result.value;
}
