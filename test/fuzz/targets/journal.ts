// The journal of grants that a restart reads: what it says opens ports, so a line that is not wholly understood must open nothing.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monotonicMs } from '../../../daemon/clock.ts';
import { GrantBook } from '../../../daemon/grants/grant-book.ts';
import { readGrantJournal } from '../../../daemon/grants/grant-journal.ts';
import { LineReader, lineOf } from '../../../daemon/grants/grant-lines.ts';
import { hold } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

const BOOT = 'boot-1';
const NOW = monotonicMs(1000);
const folder = mkdtempSync(join(tmpdir(), 'postern-fuzz-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

async function run(input: Uint8Array): Promise<string> {
  writeFileSync(join(folder, 'grants.jsonl'), input, { mode: 0o600 });
  const { grants, closes, over } = await readGrantJournal(folder, BOOT, NOW);
  for (const grant of [...grants, ...over]) {
    hold(/^g[1-9]\d*$/.test(grant.id), `a grant called ${grant.id}`);
    for (const { first, last } of grant.ports) hold(first >= 1 && first <= last && last <= 65_535, `ports ${first}-${last}`);
    hold(grant.deadlineMs > NOW === grants.includes(grant), 'over, and counted as live');
    // Written and read again it is the same grant.
    const told = new LineReader().read(JSON.parse(JSON.stringify(lineOf(grant))));
    hold(told?.kind === 'put' && JSON.stringify(told.grant) === JSON.stringify(grant), 'another grant when it is written again');
  }
  const book = new GrantBook();
  book.put(grants);
  for (const { opening, remainingMs } of [...book.standing(NOW, () => false)].flat()) {
    hold(
      remainingMs > 0 && opening.port >= 1 && opening.port <= 65_535 && opening.sourcePort >= 0 && opening.sourcePort <= 65_535,
      'an opening out of range',
    );
  }
  if (grants.length > 0) return 'grants';
  return over.length > 0 ? 'over' : closes.length > 0 ? 'closes' : 'nothing';
}

const PUT =
  '{"put":"g1","client":"alice","key":"k","address":"192.0.2.7","label":"ssh","ports":["tcp/22"],"kind":"grant","sourcePort":0,"sentAtMs":5,"grantedAtMs":6,"deadlineMs":2000}';
const HEADER = `{"version":1,"boot":"${BOOT}"}`;

export const target: FuzzTarget = {
  about: 'the journal of live grants',
  covers: ['daemon/grants/grant-lines.ts', 'daemon/grants/journal-file.ts'],
  kind: 'text',
  maxBytes: 1500,
  seeds: [
    `${HEADER}\n${PUT}\n`,
    `${HEADER}\n${PUT}\n{"drop":"g1"}\n{"close":"192.0.2.7","key":"k","sentAtMs":5,"atMs":7}\n`,
    `${HEADER}\n${PUT.replace('2000', '500').replace('"grant"', '"bound"').replace('"192.0.2.7"', '"2001:db8::7"')}\n`,
    `${HEADER}\n${PUT.slice(0, -1)},"hooks":{"onOpen":["/bin/true"]}}\n`,
    '{"version":1,"boot":"other"}\n',
  ],
  dictionary: [PUT, HEADER, '{"drop":"g1"}', '"kind":"', '"ports":["udp/1-65535"]', '"deadlineMs":', '1e999', '-1', '"__proto__":'],
  run,
  mustReach: ['grants', 'over', 'closes', 'nothing'],
};
