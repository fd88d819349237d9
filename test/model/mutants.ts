// node dist/test/model/mutants.js: breaks a copy of the daemon in one place after the other, and tells after how many histories the model noticed.
// A property test that finds nothing has to show that it can.
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BACKENDS } from '../lab/backend-table.ts';
import { run } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';

/** One place in the built daemon, and what stands there instead. */
type Mutant = { readonly what: string; readonly file: string; readonly from: string; readonly to: string; readonly only?: 'iptables' };

const MUTANTS: readonly Mutant[] = [
  {
    // Both looks at it: before a knock is opened and when it is marked. Each alone would do.
    what: 'the ledger forgets what it marked',
    file: 'ledger/held-marks.js',
    from: 'return id !== undefined && (this.#byWindow.get(window)?.has(id * 64 + slot) ?? false);',
    to: 'return false;',
  },
  {
    what: 'marks are never written, and a start knows none',
    file: 'ledger/file-ledger.js',
    from: 'const isWritten = places.append(record);',
    to: 'const isWritten = true;',
  },
  {
    what: 'a revocation, a close or a reload leaves the elements',
    file: 'grants/shutting.js',
    from: '() => firewall.close(plan.shut, cut)',
    to: 'async () => undefined',
  },
  {
    what: 'a reload keeps the grants of who is out',
    file: 'grants/footing.js',
    from: 'orphans.push(grant)',
    to: 'void grant',
  },
  {
    what: 'a close takes along what others hold open',
    file: 'grants/grant-book.js',
    from: 'const kept = new Set(open.map(({ opening }) => openingKey(opening)));',
    to: 'const kept = new Set();',
  },
  {
    what: 'a knock of before a close opens again',
    file: 'grants/close-marks.js',
    from: 'return mark !== undefined && sentAtMs <= mark.sentAtMs;',
    to: 'return false;',
  },
  {
    what: 'a knock shortens what is open',
    file: 'grants/grant-book.js',
    from: 'monotonicMs(Math.max(deadlineMs, twin.deadlineMs))',
    to: 'deadlineMs',
  },
  {
    what: 'a bound knock counts from any address',
    file: 'policy/settle.js',
    from: "if (same)\n        return pass({ address, how: 'bound' });",
    to: "return pass({ address: datagramSource, how: 'bound' });",
  },
  {
    what: 'max_ttl is not looked at',
    file: 'policy/authorize.js',
    from: 'Math.min(body.action.lifetimeSeconds, entry.maxTtlSeconds)',
    to: 'body.action.lifetimeSeconds',
  },
  {
    what: 'who is disabled gets in',
    file: 'policy/authorize.js',
    from: 'if (!client.enabled)',
    to: 'if (false)',
  },
  {
    what: 'a start gives each grant a minute more',
    file: 'grants/restore.js',
    from: 'timed.remainingMs -= passedMs',
    to: 'timed.remainingMs += 60_000',
  },
  {
    what: 'entries that somebody took out of the sets stay out',
    file: 'firewall/iptables/elements.js',
    from: 'return [...expected].some(([name, count]) => (counts.get(name) ?? count) < count);',
    to: 'return false;',
    only: 'iptables',
  },
];

const { values } = parseArgs({
  options: {
    backend: { type: 'string', default: 'nftables' },
    runs: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
  },
});
const backend = BACKENDS.find((name) => name === values.backend);
if (backend === undefined) {
  process.stderr.write(`usage: node dist/test/model/mutants.js [--backend ${BACKENDS.join('|')}] [--runs N] [--seed S] [--only TEXT]\n`);
  process.exit(2);
}
const root = fileURLToPath(new URL('../../../', import.meta.url));
for (const mutant of MUTANTS) {
  if (!mutant.what.includes(values.only) || (mutant.only !== undefined && !backend.startsWith(mutant.only))) continue;
  const noticed = await noticedBy(mutant);
  process.stdout.write(`${noticed.padStart(24)}  ${mutant.what}\n`);
  if (!noticed.startsWith('history')) process.exitCode = 1;
}

async function noticedBy({ file, from, to }: Mutant): Promise<string> {
  const folder = scratchFolder('mutant');
  try {
    for (const part of ['dist', 'package.json']) cpSync(join(root, part), join(folder, part), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    const path = join(folder, 'dist', 'daemon', file);
    const text = readFileSync(path, 'utf8');
    if (!text.includes(from)) throw new Error(`${file} does not hold ${from}`);
    writeFileSync(path, text.replaceAll(from, to));
    const words = ['--backend', String(backend), '--runs', values.runs, '--seed', values.seed, '--no-shrink'];
    const { code, stdout } = await run([process.execPath, join(folder, 'dist', 'test', 'model', 'main.js'), ...words], {
      mayFail: true,
      timeoutMs: 3600_000,
    });
    if (code === 0) return `not in ${values.runs} histories`;
    const after = /Property failed after (\d+) tests/.exec(stdout)?.[1];
    return after === undefined ? `did not run (exit ${code})` : `history ${after}`;
  } finally {
    removeScratch(folder);
  }
}
