// Black box: somebody flushes the whole ruleset several times a second while people knock. Every knock opens; a stranger gets in
// never (Linux 6.9: the table is the daemon's), or for the moment between a flush and its repair (iptables: until another table stands in). Then the same with a table that nobody owns.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { flushCommands, isNftables, stands } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, FORBIDDEN_PORT, knockBy, PORT, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { openMs, startProbing } from './neighbors-probe.ts';

const skip = labMissing() ?? false;
const PLAIN = fileURLToPath(new URL('./neighbors-plain-program.js', import.meta.url));
const KNOCKS = 6;
/** With iptables a repair takes longer than this: what stands in for the rules must keep the ports closed. */
const PAUSE_S = isNftables() ? 0.2 : 0.1;
const STAND_IN = 'table inet postern-standin';

for (const plain of isNftables() ? [false, true] : [false]) {
  const isOwned = isNftables() && !plain;
  const what = isNftables() ? (plain ? 'a table that nobody owns' : 'an owned table') : 'iptables';
  describe(`a flush in a loop, ${what}`, { skip, timeout: 120_000 }, () => {
    let stage: Stage;
    before(async () => {
      stage = await Stage.create({ label: 'loop', start: !plain });
      if (!plain) return;
      const daemon = stage.server.start([process.execPath, PLAIN, stage.postern.configFile]);
      await daemon.waitForOutput(/"msg":"ready/, 20_000);
    });
    after(() => stage?.close());

    for (const { family, at } of FAMILIES) {
      test(`knocks open, grants stay, nobody else gets in for longer than a second, over ${family} (P27)`, async (t) => {
        const address = stage.server.addresses()[at];
        // For another port: one for the same would let in whoever comes from there, with or without a knock.
        await stage.postern.posternd(['grant', stage.client.addresses()[at], `tcp/${FORBIDDEN_PORT}`, '-t', '300s']);
        const probe = await startProbing(stage.stranger, address, [PORT]);
        const commands = flushCommands().map((argv) => `${argv.join(' ')} 2>/dev/null; echo x`);
        const flushing = stage.server.start(['sh', '-c', `while sleep ${PAUSE_S}; do ${commands.join('; ')}; done`]);
        await flushing.waitForOutput(/x\nx\n/);
        for (let round = 0; round < KNOCKS; round += 1) {
          if (isOwned) assert.match(await knockBy(stage.bob, address, '-t', '300s'), /open after/);
          // A door that stands open for a moment lets `knock` believe that it was heard.
          else await stage.untilGranted(stage.bob, address, ['-t', '300s', '--timeout', '15s']);
          await stage.postern.posternd(['revoke', 'bob']);
        }
        await flushing.stop();
        await waitFor(() => stands((argv, options) => stage.server.exec(argv, options)), {
          deadlineMs: 2_000,
          what: 'the gate to be back',
        });
        await waitFor(async () => (await stage.door(address, stage.stranger)) === 'timeout', {
          deadlineMs: 2_000,
          what: 'the door to be shut',
        });
        const opened = await probe.stop();
        const flushes = flushing.stdout.split('x').length - 1;
        t.diagnostic(`${flushes} flushes; open for at most ${openMs(opened)} ms`);
        if (isOwned) assert.deepEqual(opened, []);
        assert.ok(openMs(opened) < 1_000, `open for ${openMs(opened)} ms`);
        assert.ok(flushes >= 3, `${flushes} flushes only`);
        const { grants } = await stage.postern.status();
        assert.equal(grants.length, 1);
        assert.equal(await stage.door(address), 'timeout');
        assert.equal(await stage.door(address, stage.client, FORBIDDEN_PORT), 'open');
        await stage.postern.posternd(['revoke', stage.client.addresses()[at]]);
        assert.equal(await stage.door(address, stage.client, FORBIDDEN_PORT), 'timeout');
      });
    }

    test('what stands in for rules that are flushed goes when nobody flushes any more, with the daemon, and with the gate (P27)', {
      skip: isNftables() && 'nothing needs to stand in for a table that nobody flushes, or that is back at once',
    }, async () => {
      const { server, postern, stranger } = stage;
      const standsIn = async () => (await server.exec(['nft', 'list', 'tables'])).stdout.includes(STAND_IN);
      const standsInNoMore = async () => !(await standsIn());
      const flush = async () => {
        for (const argv of flushCommands()) await server.exec(argv);
      };
      const exec = (argv: readonly string[], options?: { readonly mayFail?: boolean }) => server.exec(argv, options);

      await flush();
      await waitFor(standsIn, { what: 'the table that stands in' });
      await waitFor(standsInNoMore, { deadlineMs: 20_000, what: 'it to go' });
      assert.ok(await stands(exec), 'the gate stands by itself');
      assert.equal(await stage.door(server.addresses()[0], stranger), 'timeout');

      await flush();
      await waitFor(standsIn, { what: 'the table that stands in' });
      await postern.killHard();
      await waitFor(standsInNoMore, { what: 'it to go with the daemon' });
      await postern.start();

      await flush();
      await waitFor(standsIn, { what: 'the table that stands in' });
      await postern.posternd(['gate', 'down']);
      assert.ok(await standsInNoMore(), 'it goes with the gate');
      assert.equal(await stage.door(server.addresses()[0], stranger), 'open');
      await postern.posternd(['gate', 'up']);
      assert.equal(await stage.door(server.addresses()[0], stranger), 'timeout');
    });
  });
}
