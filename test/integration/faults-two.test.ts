// Black box: two daemons. With the same configuration the second is refused and says why; with tables of their own they live beside each other, each
// with its ports, its people and its grants. And another build takes over: with the gate of a former layout, live grants and live connections.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { isNftables } from '../lab/backend.ts';
import { Installation, Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import type { Running } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import { FAMILIES, FORBIDDEN_PORT, PORT, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { startProbing } from './neighbors-probe.ts';

const skip = labMissing() ?? false;

describe('two daemons', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let other: Installation;
  let carol: Knocker;
  before(async () => {
    stage = await Stage.create({ label: 'two', config: { protect: [REQUEST] } });
    const config = { protect: [`tcp/${FORBIDDEN_PORT}`], port: 62202, table: 'second', default_ttl: '30s' };
    carol = await Knocker.create(stage.client, 'carol');
    const rules = rulesFor([carol], [{ services: [`tcp/${FORBIDDEN_PORT}`], ttl: '30s', max_ttl: '1h' }]);
    other = await Installation.create(stage.server, config, rules);
    carol.trust(other);
  });
  after(async () => {
    carol?.close();
    await other?.close();
    await stage?.close();
  });
  beforeEach(() => stage.ensureRunning());

  test('with tables, ports and state of their own live beside each other; what ends one leaves the other alone', async () => {
    const address = stage.server.ipv4();
    const second = await other.start();
    const knockOther = async () => {
      const { stdout, stderr } = await carol.knock([profileOf(address), `tcp/${FORBIDDEN_PORT}`, '--port', '62202'], { mayFail: true });
      return stdout + stderr;
    };
    const doors = async () => [await stage.door(address), await stage.door(address, stage.client, FORBIDDEN_PORT)];
    assert.deepEqual(await doors(), ['timeout', 'timeout']);
    assert.match(await stage.knock(address, '-t', '60s'), /open after/);
    assert.deepEqual(await doors(), ['open', 'timeout'], 'a knock at one opens nothing at the other');
    assert.match(await knockOther(), /open after/);
    assert.deepEqual(await doors(), ['open', 'open']);
    assert.deepEqual([(await stage.postern.status()).grants.length, (await other.status()).grants.length], [1, 1]);
    await stage.postern.killHard();
    await stage.postern.start();
    await stage.postern.posternd(['reload']);
    assert.deepEqual(await doors(), ['open', 'open']);
    assert.doesNotMatch(second.stdout, /loading it again/);
    await stage.postern.posternd(['gate', 'down']);
    assert.equal(await stage.door(address, stage.stranger), 'open');
    assert.equal(await stage.door(address, stage.stranger, FORBIDDEN_PORT), 'timeout');
    assert.deepEqual(await doors(), ['open', 'open']);
    await stage.postern.posternd(['gate', 'up']);
    assert.equal(await stage.door(address, stage.stranger), 'timeout');
    assert.match(await stage.knock(address, '-t', '60s'), /open after/);
    await other.stop();
  });

  test('with one state folder: the second is refused with one line that names the first', async () => {
    const text = `${readFileSync(stage.postern.configFile, 'utf8')}`;
    const file = join(stage.postern.folder, 'second.yaml');
    const changed = text.startsWith('{') ? JSON.stringify({ ...JSON.parse(text), table: 'third', port: 62203 }) : text;
    writeFileSync(file, changed, { mode: 0o644 });
    const [node = '', main = ''] = stage.postern.command(['run']);
    const second = await stage.server.exec([node, main, 'run', '-c', file], { mayFail: true });
    assert.equal(second.code, 1);
    assert.match(second.stderr, new RegExp(`^posternd: the replay ledger is in use by process ${stage.postern.daemon.pid} [^\\n]*\\n$`));
    assert.match(await stage.knock(stage.server.ipv4(), '-t', '60s'), /open after/);
  });

  test('with one table: the second is refused with one line that says what to set', { skip: !isNftables() }, async () => {
    other.writeConfig({ protect: [`tcp/${FORBIDDEN_PORT}`], port: 62202 });
    const second = await other.posternd(['run'], { mayFail: true });
    assert.equal(second.code, 1);
    assert.match(second.stderr, /^posternd: the gate \(table inet postern\) is held by another process[^\n]*another `table`\n$/);
    assert.match(await stage.knock(stage.server.ipv4(), '-t', '60s'), /open after/);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
  });
});

describe('an upgrade', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let build: string;
  let next: Running | undefined;
  before(async () => {
    stage = await Stage.create({ label: 'upgrade' });
    build = scratchFolder('build');
    const dist = dirname(dirname(stage.postern.main));
    const root = dirname(dist);
    mkdirSync(join(build, 'dist'));
    for (const folder of readdirSync(dist)) {
      if (!['test', 'scripts'].includes(folder)) cpSync(join(dist, folder), join(build, 'dist', folder), { recursive: true });
    }
    symlinkSync(join(root, 'node_modules'), join(build, 'node_modules'));
    const manifest = { ...(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object), version: '99.0.0' };
    writeFileSync(join(build, 'package.json'), JSON.stringify(manifest));
  });
  after(async () => {
    next?.kill('SIGKILL');
    await stage?.close();
    removeScratch(build);
  });

  for (const { family, at } of FAMILIES) {
    for (const { how, end } of [
      { how: 'stopped', end: () => stage.postern.stop() },
      { how: 'killed', end: () => stage.postern.killHard() },
    ]) {
      test(`of a daemon that was ${how}, over the gate of a former layout: grants and connections stay, nobody gets in, over ${family}`, async () => {
        await next?.stop();
        if (stage.postern.daemon.ended) await stage.postern.start();
        const address = stage.server.addresses()[at];
        await stage.knock(address, '-t', '60s');
        const connection = await stage.client.ask('hold', { address, port: PORT, timeoutMs: 2_000 });
        const probe = await startProbing(stage.stranger, address, [PORT, FORBIDDEN_PORT]);
        await end();
        await toFormerLayout();
        next = stage.server.start(
          stage.postern.command(['run']).map((word) => (word === stage.postern.main ? join(build, 'dist', 'daemon', 'main.js') : word)),
        );
        await next.waitForOutput(/"version":"99\.0\.0".*"msg":"ready/, 20_000);
        assert.equal(await stage.door(address), 'open');
        assert.equal(await stage.client.ask('talk', { connection, payload: 'still there?', timeoutMs: 2_000 }), 'echoed');
        assert.deepEqual(await probe.stop(), []);
        const { grants } = await stage.postern.status();
        assert.deepEqual(
          grants.map(({ client }) => client),
          ['alice'],
        );
        assert.doesNotMatch(await gateText(), /former/);
        await stage.untilGranted(stage.bob, address);
        for (const who of ['alice', 'bob']) await stage.postern.posternd(['revoke', who]);
        await waitFor(async () => (await stage.door(address)) === 'timeout', { what: 'the door to be shut' });
      });
    }
  }

  const gateText = async () =>
    isNftables()
      ? (await stage.server.exec(['nft', 'list', 'table', 'inet', 'postern'])).stdout
      : (await stage.server.exec(['iptables-save', '-t', 'mangle'])).stdout;

  /** What another version might have left: sets and rules that this one does not know, one of its own missing. */
  const toFormerLayout = async () => {
    if (!isNftables()) {
      await stage.server.exec(['iptables', '-t', 'mangle', '-N', 'POSTERN-FORMER']);
      await stage.server.exec([
        'iptables',
        '-t',
        'mangle',
        '-I',
        'POSTERN',
        '-p',
        'tcp',
        '--dport',
        '4',
        '-m',
        'comment',
        '--comment',
        'former',
        '-j',
        'DROP',
      ]);
      return;
    }
    // Its owner has gone: root may change it.
    await stage.server.nft(
      'add set inet postern former { type ipv4_addr . inet_service; flags timeout; }\nadd chain inet postern former_chain\n',
    );
    await stage.server.nft('add rule inet postern former_chain drop\nflush chain inet postern sieve\n');
  };
});
