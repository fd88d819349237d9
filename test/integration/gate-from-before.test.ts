// Connections through this host that lived before the first gate (P30f): those that connection tracking knows, and those that nothing tracked.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import type { Firewall } from '../../daemon/firewall/firewall.ts';
import { openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import { CLIENT, dial, LAYOUT, type Lab, network, openLab, port, talk, until, VERSIONS } from './gate-lab.ts';

const BEHIND = { 4: '10.78.0.2', 6: 'fd78::2' } as const;
const NETWORKS = ['10.78.0.0/24', 'fd78::/64'].map(network);

for (const tracked of [true, false]) {
  test(`connections to hosts behind this one that were there first, ${tracked ? 'tracked' : 'tracked by nothing'} (P30f)`, async (context) => {
    const lab: Lab = openLab({ behind: true });
    const gate: Firewall = await openNftables({ table: 'postern' });
    const inner: Socket[] = [];
    const server = await lab.asBehind(() =>
      createServer({ noDelay: true }, (socket) => inner.push(socket.on('error', () => undefined))).listen(22, '::'),
    );
    if (!server.listening) await once(server, 'listening');
    const clients: Socket[] = [];
    context.after(async () => {
      for (const socket of [...inner, ...clients]) socket.destroy();
      server.close();
      await gate.release();
      lab.close();
    });
    if (tracked) lab.nft('table inet stateful { chain c { type filter hook forward priority 0; ct state established accept; }\n}');
    for (const version of VERSIONS) {
      const { socket, outcome } = await dial(lab, BEHIND[version], 22, CLIENT[version]);
      assert.equal(await outcome, 'open');
      clients.push(socket);
    }
    await until(() => inner.length === VERSIONS.length);
    assert.deepEqual(await gate.install({ ...LAYOUT, protect: [port('tcp/22')], networks: NETWORKS }, []), { fresh: true });
    for (const [at, socket] of clients.entries()) {
      const far = inner[at];
      assert.ok(far !== undefined);
      if (tracked) {
        far.pipe(far);
        assert.equal(await talk(socket, 'still here'), true);
        continue;
      }
      // Nobody can tell it from a new one, until the far end speaks: then it is that one's connection, and the client answers it.
      const before = (await gate.counters()).refused;
      socket.write('nobody hears this');
      await until(async () => (await gate.counters()).refused > before);
      const heard = once(socket, 'data');
      far.write('a word from inside');
      assert.equal(String((await heard)[0]), 'a word from inside');
      far.pipe(far);
      assert.equal(await talk(socket, 'and on it goes'), true);
    }
  });
}
