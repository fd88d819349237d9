// `--source stun` behind a NAT, with coturn and the real posternd, whose rule takes bound knocks only.
//
//   inner (alice) ── client (masquerades) ──┬── server (posternd)
//                                           └── stranger (STUN servers)
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Host } from '../lab/host.ts';
import type { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { type Running, runNow } from '../lab/process.ts';
import { FAMILIES, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const ANSWERER = fileURLToPath(new URL('./client-answerer.js', import.meta.url));
const skip = labMissing() ?? false;
const noCoturn = runNow(['which', 'turnserver']) === '' && 'coturn is missing: scripts/install-needs test';

describe('--source stun', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let alice: Knocker;
  const running: Running[] = [];
  before(async () => {
    stage = await Stage.create({ label: 'stun', allow: [{ services: [REQUEST], require_source: true, ttl: '1m' }] });
    const inner: Host = await stage.lab.host('inner');
    await stage.lab.link(stage.client, inner);
    await stage.lab.route(stage.client, 1, [inner]);
    await stage.lab.masquerade(stage.client, 0);
    alice = stage.alice.at(inner);
  });
  after(() => stage?.close());
  afterEach(async () => {
    await Promise.all(running.splice(0).map((each) => each.stop()));
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
  });

  const grants = async () => (await stage.postern.status()).grants.map(({ address }) => address);
  const dropped = async (reason: string) => (await stage.postern.status()).knocks.dropped[reason] ?? 0;
  const stun = () => stage.stranger.ipv4();
  async function answerer(kind: string, argument = ''): Promise<Running> {
    const server = stage.stranger.start([process.execPath, ANSWERER, kind, '3478', argument]);
    running.push(server);
    await server.waitForOutput(/ready/);
    return server;
  }

  describe('with coturn', { skip: noCoturn }, () => {
    for (const { family, at } of FAMILIES) {
      test(`binds to the address outside the NAT, over ${family}`, async () => {
        const server = stage.server.addresses()[at];
        const outside = stage.client.addresses()[at];
        await coturn();
        // Without it this rule refuses: inside the NAT, no address that the server sees is known.
        for (const source of ['auto', 'bound']) {
          const refused = await alice.knock([profileOf(server), REQUEST, '--source', source, '--timeout', '1s'], { mayFail: true });
          assert.equal(refused.code, 1, source);
        }
        const asked = at === 0 ? `stun:${stun()}` : `stun:[${stage.stranger.ipv6()}]:3478`;
        const result = await alice.knock([profileOf(server), REQUEST, '--source', asked, '-v']);
        assert.match(result.stdout, /^open after/);
        assert.match(result.stderr, new RegExp(`bound to ${outside}\n`));
        assert.deepEqual(await grants(), [outside]);
      });
    }

    test('the profile can name the server; the knock is dry-run without asking it', async () => {
      await coturn();
      const folder = join(alice.home, 'stun');
      mkdirSync(folder, { recursive: true });
      const file = join(folder, 'config.yaml');
      const text = readFileSync(join(alice.home, '.config', 'knock', 'config.yaml'), 'utf8');
      writeFileSync(file, text.replace('"slots":64', `"slots":64,"source":"stun","stun_server":"${stun()}"`));
      assert.match((await alice.knock(['server4', REQUEST, '--config', file])).stdout, /^open after/);
      const dry = await alice.knock(['server4', REQUEST, '--config', file, '--dry-run']);
      assert.match(dry.stdout, /^source +bound to what the STUN server "10\.77\.1\.3:3478" says/m);
    });

    async function coturn(): Promise<void> {
      const words = ['turnserver', '-n', '--stun-only', '--no-cli', '--no-tls', '--no-dtls', '--log-file', 'stdout', '--simple-log'];
      const server = stage.stranger.start([...words, '--pidfile', join(alice.home, 'turn.pid'), '--listening-port', '3478']);
      running.push(server);
      // It listens when it answers.
      const request = Buffer.concat([Buffer.from('000100002112a442', 'hex'), Buffer.alloc(12, 7)]);
      const { server: knocked } = stage;
      await waitFor(async () => (await knocked.sendUdp(stun(), 3478, [request], { wanted: 1, waitMs: 200 })).replies.length === 1, {
        what: `coturn to answer\n${server.stdout}${server.stderr}`,
      });
    }
  });

  test('another’s guess of the transaction is no answer; the wait goes on', async () => {
    await answerer('stun-after-a-guess', stage.client.ipv4());
    await alice.knock(['server4', REQUEST, '--source', `stun:${stun()}`]);
    assert.deepEqual(await grants(), [stage.client.ipv4()]);
  });

  test('a server that lies only makes the knock worthless', async () => {
    await answerer('stun-says', stage.server.ipv4());
    const before = await dropped('relayed');
    const result = await alice.knock(['server4', REQUEST, '--source', `stun:${stun()}`, '--timeout', '1s', '--retries', '0'], {
      mayFail: true,
    });
    assert.equal(result.code, 1);
    assert.match(result.stderr, /the knock was bound to 10\.77\.1\.1:/);
    assert.equal(await dropped('relayed'), before + 1);
    assert.deepEqual(await grants(), []);
  });

  const cases = [
    { text: 'silent', kind: 'silent', says: /the STUN server "10\.77\.1\.3:3478" did not answer \(timeout\)/ },
    { text: 'forged', kind: 'stun-other-transaction', argument: '10.77.1.2', says: /did not answer \(timeout\)/ },
    { text: 'not there', says: /did not answer \(ECONNREFUSED\)/ },
    { text: 'telling nonsense', kind: 'stun-says', argument: '127.0.0.1', says: /as 127\.0\.0\.1, which no server can see/ },
  ] as const;
  for (const { text, says, ...more } of cases) {
    test(`a server that is ${text}: nothing is sent, within seconds, and it is said`, async () => {
      if ('kind' in more) await answerer(more.kind, 'argument' in more ? more.argument : '');
      const capture = await alice.host.capture({ filter: 'udp dst port 62201', direction: 'out' });
      const started = performance.now();
      const result = await alice.knock(['server4', REQUEST, '--source', `stun:${stun()}`], { mayFail: true });
      assert.match(result.stderr, says);
      assert.match(result.stderr, /^knock: [^\n]*: use --source none if the rule allows it, or --source ADDRESS\n$/);
      assert.equal(result.code, 1);
      assert.ok(performance.now() - started < 6_000);
      assert.deepEqual(await capture.settle(stage.server.ipv4()), []);
      await capture.close();
    });
  }

  test('no server is asked that nobody named', async () => {
    const capture = await alice.host.capture({ direction: 'out' });
    const result = await alice.knock(['server4', REQUEST, '--source', 'stun'], { mayFail: true });
    assert.match(result.stderr, /^knock: --source stun: no STUN server was named, and none is asked on its own: [^\n]*\n$/);
    assert.equal(result.code, 2);
    assert.deepEqual(await capture.settle(stage.server.ipv4()), []);
    await capture.close();
  });
});
