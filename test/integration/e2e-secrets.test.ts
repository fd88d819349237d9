// Black box: secrets stay in their files (P38). Keys and pre-shared keys of server and client, in every writing, against all that the daemon and the
// client say, are called with and leave behind.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';

const skip = labMissing() ?? false;

describe('secrets (P38)', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let secrets: readonly Buffer[] = [];
  const said: string[] = [];

  before(async () => {
    stage = await Stage.create({ label: 'secrets', start: false, config: { log: { level: 'trace' } } });
    const psk = randomBytes(32);
    const [pskFile, profiles] = [join(stage.alice.home, 'psk'), join(stage.alice.home, '.config', 'knock', 'config.yaml')];
    for (const path of [join(stage.postern.folder, 'psk'), pskFile]) writeFileSync(path, `${psk.toString('base64')}\n`, { mode: 0o600 });
    writeFileSync(profiles, readFileSync(profiles, 'utf8').replaceAll('"slots":64}', `"slots":64,"psk_file":${JSON.stringify(pskFile)}}`));
    const rules = rulesFor([stage.alice, stage.bob]);
    const [alice, ...others] = rules.clients;
    stage.postern.writeRules({ ...rules, clients: [{ ...alice, psk_file: '../psk' }, ...others] });
    const keyFiles = [join(stage.postern.folder, 'host_ed25519'), join(stage.alice.home, '.ssh', 'id_ed25519')];
    secrets = [psk, ...keyFiles.map(seedOf)];
  });
  after(() => stage?.close());

  test('no command line and no environment of the daemon, its children or the client holds one; nothing that they say does', async () => {
    const { postern, server, client } = stage;
    const daemon = await postern.start();
    const seen = new Set<string>();
    const watcher = setInterval(() => {
      for (const text of processesOf([server.namespace, client.namespace])) seen.add(text);
    }, 5);
    try {
      for (const address of server.addresses()) {
        const args = [profileOf(address), REQUEST, '-v'];
        const knocked = await stage.alice.knock(args);
        assert.match(knocked.stdout + knocked.stderr, /open after/);
        said.push(knocked.stdout, knocked.stderr);
        const dry = await stage.alice.knock([...args, '--dry-run'], { mayFail: true });
        said.push(dry.stdout, dry.stderr);
      }
      for (const words of [['status', '--json'], ['grants'], ['check', '--json'], ['gate', 'show'], ['reload']]) {
        const ended = await postern.posternd(words, { mayFail: true });
        said.push(ended.stdout, ended.stderr);
      }
    } finally {
      clearInterval(watcher);
    }
    said.push(readFileSync(`/proc/${daemon.pid}/cmdline`, 'latin1'), readFileSync(`/proc/${daemon.pid}/environ`, 'latin1'));
    await postern.stop();
    said.push(daemon.stdout, daemon.stderr, ...seen);
    assert.ok(
      [...seen].some((text) => text.includes('knock')),
      'the watcher saw the client',
    );
    assert.match(daemon.stdout, /granted|opened|knock/, 'the log is not empty');
    for (const secret of secrets)
      for (const writing of writings(secret)) for (const text of said) assert.ok(!text.includes(writing), text.slice(0, 300));
  });

  test('no file that others can read holds one', () => {
    const files = readdirSync(stage.postern.folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    assert.ok(files.length > 5, files.join());
    const holding = files.filter((file) => {
      const bytes = readFileSync(file);
      return secrets.some((secret) => bytes.includes(secret) || writings(secret).some((writing) => bytes.includes(writing)));
    });
    assert.deepEqual(holding.map((file) => file.slice(stage.postern.folder.length + 1)).sort(), ['psk']);
    for (const file of [...holding, join(stage.postern.folder, 'host_ed25519')]) assert.equal(statSync(file).mode & 0o077, 0, file);
  });
});

/** As they might appear in text. */
function writings(secret: Buffer): readonly string[] {
  const base64 = secret.toString('base64').replace(/=+$/, '');
  return [base64, base64.replaceAll('+', '-').replaceAll('/', '_'), secret.toString('hex'), [...secret.subarray(0, 8)].join(',')];
}

/** The 32 bytes behind the second copy of the public key in OpenSSH's private format. */
function seedOf(file: string): Buffer {
  const body = Buffer.from(readFileSync(file, 'utf8').replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const blob = Buffer.from(readFileSync(`${file}.pub`, 'utf8').split(' ')[1] ?? '', 'base64');
  const publicKey = blob.subarray(-32);
  const seed = body.subarray(body.lastIndexOf(publicKey) - 32, body.lastIndexOf(publicKey));
  assert.equal(seed.length, 32);
  return seed;
}

/** Command lines and environments of what runs in these network namespaces. */
function processesOf(namespaces: readonly string[]): readonly string[] {
  const pids = namespaces.flatMap((name) => execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).split('\n').filter(Boolean));
  return pids.flatMap((pid) => ['cmdline', 'environ'].flatMap((what) => read(`/proc/${pid}/${what}`)));
}

function read(path: string): readonly string[] {
  try {
    return [readFileSync(path, 'latin1')];
  } catch {
    return []; // it has ended meanwhile
  }
}
