// What conntrack remembers of a connection is no way in for another one: a SYN from the same source port needs a grant of its own.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Firewall } from '../../daemon/firewall/firewall.ts';
import { openGate } from './gate-backend.ts';
import { CLIENT, dial, echoService, LAYOUT, type Lab, opening, openLab, SERVER, talk, timed } from './gate-lab.ts';

const SOURCE_PORT = 4000;

describe('the source port of a connection that conntrack remembers', () => {
  let lab: Lab;
  let gate: Firewall;
  let service: { close: () => void };
  before(async () => {
    lab = openLab();
    service = await echoService(22);
    gate = await openGate({ table: 'postern' });
  });
  after(async () => {
    service.close();
    await gate.remove();
    await gate.release();
    lab.close();
  });

  for (const family of [4, 6] as const) {
    test(`IPv${family}: a SYN from it is refused when the grant is over, and the connection lives on`, async () => {
      const grant = opening('grant', CLIENT[family], 'tcp/22');
      await gate.install(LAYOUT, [timed(grant, 60_000)]);
      const attempt = await dial(lab, SERVER[family], 22, CLIENT[family], SOURCE_PORT);
      assert.equal(await attempt.outcome, 'open');
      await gate.close([grant], false);
      const { refused } = await gate.counters();
      // No socket of the client could send it: its four numbers are taken.
      const from = ['-e', 'wan', '-S', CLIENT[family], '-g', String(SOURCE_PORT), ...(family === 6 ? ['-6'] : [])];
      lab.onClient('nmap', '-n', '-Pn', '-sS', ...from, '-p', '22', '--max-retries', '0', SERVER[family]);
      assert.ok((await gate.counters()).refused > refused);
      assert.equal(await talk(attempt.socket, 'still here'), true);
      attempt.socket.destroy();
    });
  }
});
