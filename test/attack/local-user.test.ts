// Black box: somebody with an account on the server, and somebody who may write a file that the daemon reads. The folder of the installation is
// opened for all here, so that only the modes that posternd itself gives stand between them and its files.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openPorts } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import { run } from '../lab/process.ts';
import { KNOCK_PORT, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { Mint } from './adversary.ts';

const skip = labMissing() ?? false;
const NOBODY = 65_534;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'];
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

describe('somebody with an account on the server', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'local' });
    chmodSync(stage.postern.folder, 0o755);
  });
  after(() => stage?.close());

  const folder = () => stage.postern.folder;
  const asNobody = (argv: readonly string[]) => stage.server.exec([...AS_NOBODY, ...argv], { mayFail: true });
  const found = async (...tests: readonly string[]) =>
    (await asNobody(['find', folder(), ...tests])).stdout
      .split('\n')
      .filter(Boolean)
      .map((path) => path.slice(folder().length + 1))
      .toSorted();

  test('reads what the administrator left readable, nothing of state and logs, and writes nothing', async () => {
    await stage.knock(stage.server.ipv4());
    assert.deepEqual(await found('-type', 'f', '-readable'), ['host_ed25519.pub', 'postern.yaml', 'rules.d/people.yaml']);
    assert.deepEqual(await found('-writable', '!', '-type', 'l'), []);
    await stage.postern.posternd(['revoke', 'alice']);
  });

  test('cannot connect to the control socket', async () => {
    const socket = join(folder(), 'run', 'control.sock');
    const connect = ['socat', '-u', 'OPEN:/dev/null', `UNIX-CONNECT:${socket}`];
    assert.equal((await stage.server.exec(connect)).code, 0, 'root can');
    assert.match((await asNobody(connect)).stderr, /Permission denied/);
    const refused = await asNobody(stage.postern.command(['status']));
    assert.notEqual(refused.code, 0);
  });

  test('can neither end nor look into the daemon, nor read or change what stands in the kernel', async () => {
    const { pid } = await stage.postern.status();
    for (const signal of ['TERM', 'STOP', 'HUP', 'USR1']) {
      assert.notEqual((await asNobody(['sh', '-c', `kill -${signal} ${pid}`])).code, 0);
    }
    for (const file of ['environ', 'mem', 'maps', 'stack'])
      assert.notEqual((await asNobody(['head', '-c', '1', `/proc/${pid}/${file}`])).code, 0, file);
    for (const link of ['cwd/', 'root/', 'fd/']) assert.notEqual((await asNobody(['ls', `/proc/${pid}/${link}`])).code, 0, link);
    for (const command of ['list table inet postern', 'flush ruleset', 'list set inet postern tags']) {
      assert.notEqual((await asNobody(['nft', ...command.split(' ')])).code, 0, command);
    }
    assert.equal((await stage.postern.status()).pid, pid);
  });

  test('who knocks from the server itself opens nothing', async () => {
    const mint = new Mint(stage.alice, stage.postern);
    const before_ = (await stage.postern.status()).knocks.dropped['senseless-address'] ?? 0;
    for (const address of ['127.0.0.1', '::1']) await stage.server.sendUdp(address, KNOCK_PORT, [mint.packet()]);
    await waitFor(async () => ((await stage.postern.status()).knocks.dropped['senseless-address'] ?? 0) >= before_ + 2, {
      what: 'both to be refused',
    });
    assert.deepEqual(await openPorts((argv, options) => stage.server.exec(argv, options)), []);
  });
});

describe('somebody who may write a file that is read', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'files' });
  });
  after(() => stage?.close());

  const hostile = () => join(stage.postern.folder, 'rules.d', 'zz.yaml');
  const good = JSON.stringify({ clients: [] });
  const reload = () => stage.postern.posternd(['reload'], { mayFail: true });

  for (const { what, lay, says } of [
    { what: 'that all may write', lay: (file) => [writeFileSync(file, good), chmodSync(file, 0o666)], says: /others can write/ },
    { what: 'of another user', lay: (file) => [writeFileSync(file, good), chownSync(file, NOBODY, NOBODY)], says: /belongs to user 65534/ },
    { what: 'that is a link', lay: (file) => symlinkSync('/etc/shadow', file), says: /symbolic link/ },
    { what: 'that is a pipe nobody writes to', lay: (file) => run(['mkfifo', file]), says: /not a regular file/ },
    { what: 'that is a device', lay: (file) => run(['mknod', file, 'c', '1', '5']), says: /not a regular file/ },
    { what: 'that has no end', lay: (file) => run(['truncate', '-s', '1T', file]), says: /larger than/ },
    {
      what: 'whose aliases multiply',
      lay: (file) => writeFileSync(file, bomb()),
      says: /alias|too/i,
    },
    {
      what: 'with words for the terminal',
      lay: (file) =>
        writeFileSync(file, JSON.stringify({ clients: [{ name: '\u001b]0;root\u0007\u202e\n<6>posternd: ready', key: 'x' }] })),
      says: /name/,
    },
  ] as { what: string; lay: (file: string) => unknown; says: RegExp }[]) {
    test(`a rule file ${what} is refused by name, and the running rules stay`, async () => {
      rmSync(hostile(), { force: true });
      await lay(hostile());
      const { code, stdout, stderr } = await reload();
      assert.equal(code, 2, stdout + stderr);
      assert.match(stderr, says);
      assert.match(stderr, /zz\.yaml/);
      assert.ok(!UNSAFE.test(stdout + stderr), JSON.stringify(stderr));
      rmSync(hostile(), { force: true });
      assert.match(await stage.knock(stage.server.ipv4()), /open/);
    });
  }

  test('a key comment with words for the terminal reaches neither commands nor logs', async () => {
    const line = `${stage.bob.publicLine.split(' ').slice(0, 2).join(' ')} \u001b[2J\u001b]0;root\u0007\u202ebob`;
    const [alice, bob] = [rulesFor([stage.alice]).clients, rulesFor([stage.bob]).clients];
    stage.postern.writeRules({ ...rulesFor([stage.alice]), clients: [...alice, ...bob.map((client) => ({ ...client, key: line }))] });
    const reloaded = await reload();
    const listed = await stage.postern.posternd(['client', 'list'], { mayFail: true });
    const checked = await stage.postern.posternd(['check'], { mayFail: true });
    for (const { stdout, stderr } of [reloaded, listed, checked]) assert.ok(!UNSAFE.test(stdout + stderr), JSON.stringify(stdout + stderr));
    assert.ok(!UNSAFE.test(stage.postern.daemon.stdout), 'the log');
  });
});

/** Ten aliases of ten aliases of ten …: a thousand million clients. */
function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let level = 1; level < 9; level += 1) {
    lines.push(`a${level}: &a${level} [${new Array(10).fill(`*a${level - 1}`).join(', ')}]`);
  }
  return `${lines.join('\n')}\nclients: *a8\n`;
}
