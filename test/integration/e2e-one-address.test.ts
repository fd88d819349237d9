// Black box: neighbors behind one address (P31). A plain grant is for the address, so a neighbor gets in too: documented. One-shot grants and grants
// for a source port are for one connection, and keep the neighbor out.
//
//   alice ────┐
//             ├── switch ── router (masquerade) ── server: posternd, an echo service on tcp/8022
//   neighbor ─┘
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { lacks } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, PORT, REQUEST, Stage } from '../lab/stage.ts';

const skip = labMissing() ?? false;
const SOURCE_PORT = 40_123;

describe('neighbors behind one address (P31)', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let inside: Host;
  let neighbor: Host;
  let router: Host;
  before(async () => {
    stage = await Stage.create({ label: 'nat' });
    [router, inside, neighbor] = [await stage.lab.host('router'), await stage.lab.host('inside'), await stage.lab.host('neighbor')];
    await stage.lab.lan(router, inside, neighbor);
    await stage.lab.link(router, stage.server);
    await stage.lab.route(router, 0, [inside, neighbor]);
    await stage.lab.masquerade(router, 1);
  });
  beforeEach(async () => void (await stage.postern.posternd(['revoke', 'alice'], { mayFail: true })));
  after(() => stage?.close());

  for (const { family, at } of FAMILIES) {
    const outer = () => stage.server.interfaces.at(-1)?.[at === 0 ? 'ipv4' : 'ipv6'] ?? '';
    const knock = (...args: readonly string[]) =>
      stage.alice.at(inside).knock([outer(), REQUEST, '--server-key', stage.postern.publicLine, ...args]);
    const door = async (from: Host, sourcePort?: number) =>
      (await from.connect(outer(), PORT, { timeoutMs: 500, ...(sourcePort === undefined ? {} : { sourcePort }) })).outcome;

    test(`a plain grant is for the address: the neighbor is let in, as docs/threat-model.md says, over ${family}`, async () => {
      assert.equal(await door(neighbor), 'timeout');
      await knock();
      assert.equal(await door(inside), 'open');
      assert.equal(await door(neighbor), 'open');
    });

    test(`a one-shot grant that was used lets no neighbor in, over ${family}`, { skip: lacks('one-shots') }, async () => {
      await knock('--once');
      await stage.waitForGrants(1);
      assert.equal(await door(inside), 'open');
      assert.equal(await door(neighbor), 'timeout');
    });

    test(`a grant for a source port lets no neighbor in, before nor after, over ${family}`, async () => {
      await knock('--source-port', String(SOURCE_PORT), '--no-verify');
      await stage.waitForGrants(1);
      assert.equal(await door(neighbor), 'timeout');
      assert.equal(await door(inside, SOURCE_PORT), 'open');
      assert.equal(await door(neighbor), 'timeout');
    });
  }
});
