// The child that ledger.test.ts kills: marks as fast as it can and says each mark that the ledger took, in one write after it was taken.
import { writeSync } from 'node:fs';
import type { BootMs } from '../../daemon/clock.ts';
import { openLedger } from '../../daemon/ledger/open.ts';
import { RENEWAL_MINUTES } from '../../daemon/ledger/retention.ts';
import { around, markOf, NOW } from '../unit/ledger-ground.ts';

const [stateDir = '', runtimeDir = '', client = '0', isRenewing = ''] = process.argv.slice(2);

let minutes = 0;
const { ledger } = await openLedger({
  stateDir,
  runtimeDir,
  bootId: 'boot-1',
  acceptable: around(NOW),
  clock: { boot: () => (minutes * 60_000) as BootMs },
});
// Everything in the file becomes too old: the next openWindows is followed by a renewal, while marks go on.
if (isRenewing === 'renewing') minutes = RENEWAL_MINUTES + 1;
for (let turn = 0; ; turn++) {
  const opening = ledger.openWindows(around(NOW));
  if (turn === 0) await opening;
  for (let slot = 0; slot < 64; slot++) {
    const mark = markOf(Number(client) * 1000 + turn, NOW, slot);
    if (ledger.mark(mark) === 'marked') writeSync(1, `${Number(client) * 1000 + turn} ${slot}\n`);
  }
  await new Promise(setImmediate);
}
