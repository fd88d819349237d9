// Who may run the iptables backend: root, or a user with the right capabilities, who then has a lock file of its own.
// Run by itself it tests the form for nf_tables; iptables-legacy.test.ts runs it again.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { backendName, isNftables, useBackend } from '../lab/backend.ts';
import { CLIENT, command, LAYOUT, type Lab, openLab } from './gate-lab.ts';

if (isNftables()) useBackend('iptables-nft');
const isLegacy = backendName() === 'iptables-legacy';

describe(`who may run the gate in ${backendName()}`, () => {
  let lab: Lab;
  before(() => {
    lab = openLab();
  });
  after(() => lab.close());

  for (const [who, capabilities, expected] of [
    ['with CAP_NET_ADMIN and CAP_NET_RAW, as the unit can give them', '+net_admin,+net_raw', /^standing 1$/],
    ['with CAP_NET_ADMIN alone', '+net_admin', isLegacy ? /^NO_PERMISSION .*CAP_NET_RAW/ : /^standing 1$/],
    ['without', '', /^NO_PERMISSION /],
  ] as const) {
    test(`a user that is not root, ${who}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'postern-run-'));
      chmodSync(folder, 0o777);
      const source = `
        const { openIptables } = await import(${JSON.stringify(new URL('../../daemon/firewall/iptables/iptables.js', import.meta.url).href)});
        const { layout, openings } = JSON.parse(process.argv[1]);
        try {
          const gate = await openIptables({ table: 'unprivileged', runtimeFolder: ${JSON.stringify(folder)} });
          await gate.install(layout, openings);
          console.log('standing ' + (await gate.standing()).length);
          await gate.remove();
          await gate.release();
        } catch (error) { console.log(error.code + ' ' + error.message + ' ' + error.cure); process.exit(0); }`;
      const from = { family: 4, text: CLIENT[4] };
      const openings = [{ remainingMs: 60_000, opening: { kind: 'grant', address: from, protocol: 'tcp', port: 22, sourcePort: 0 } }];
      const sets = capabilities === '' ? '-all' : `-all,${capabilities}`;
      const said = command(
        ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', `--inh-caps=${sets}`, `--ambient-caps=${sets}`, '--'],
        ...[process.execPath, '--input-type=module', '-e', source, JSON.stringify({ layout: LAYOUT, openings })],
      );
      assert.match(said.trim(), expected);
      if (isLegacy && capabilities.includes('raw')) assert.ok(existsSync(join(folder, 'xtables.lock')));
    });
  }
});
