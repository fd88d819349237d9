// posternd init: what it makes, that it overwrites nothing, and that a kill at any moment leaves nothing broken.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { initCommand } from '../../daemon/commands/init.ts';
import { loadConfig } from '../../daemon/config/load.ts';
import { parseTable } from '../../daemon/ports/sockets.ts';
import { loadRuleBook } from '../../daemon/rules/load.ts';

const POSTERND = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
const ROOT = mkdtempSync(join(tmpdir(), 'postern-init-'));
after(() => rmSync(ROOT, { recursive: true }));
const skip = process.geteuid?.() === 0 ? false : 'needs root';
const FILES = ['host_ed25519', 'host_ed25519.pub', 'postern.yaml', 'rules.d', 'state'];

let count = 0;
function fresh(): string {
  count += 1;
  return join(ROOT, `i${count}`);
}

function posternd(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [POSTERND, ...args], { encoding: 'utf8', timeout: 60_000 });
  return { status, stdout, stderr };
}

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('posternd init', { skip }, () => {
  it('makes a folder from which a start works, with a key that ssh-keygen reads', async () => {
    const folder = fresh();
    const made = posternd('init', '-c', join(folder, 'postern.yaml'));
    assert.equal(made.status, 0, made.stderr);
    assert.deepEqual(readdirSync(folder).sort(), FILES);
    assert.deepEqual([mode(join(folder, 'host_ed25519')), mode(folder), mode(join(folder, 'state'))], ['600', '750', '700']);
    const line = execFileSync('ssh-keygen', ['-y', '-f', join(folder, 'host_ed25519')], { encoding: 'utf8' }).trim();
    assert.ok(made.stdout.includes(line.split(' ').slice(0, 2).join(' ')));
    assert.ok(readFileSync(join(folder, 'host_ed25519.pub'), 'utf8').startsWith(line.split(' ').slice(0, 2).join(' ')));
    const fingerprint = execFileSync('ssh-keygen', ['-l', '-f', join(folder, 'host_ed25519')], { encoding: 'utf8' }).split(' ')[1] ?? '?';
    assert.ok(made.stdout.includes(fingerprint));
    // What it says to do next is for this configuration, not for the one in /etc that the units know.
    assert.match(made.stdout, new RegExp(`posternd check -c ${join(folder, 'postern.yaml')}\n`));
    assert.doesNotMatch(made.stdout, /systemctl/);
    const checked = posternd('check', '-c', join(folder, 'postern.yaml'));
    assert.ok(checked.stdout.includes(fingerprint), 'an administrator compares it with what a client names');
    const { config } = await loadConfig(join(folder, 'postern.yaml'));
    assert.ok(config !== undefined);
    assert.deepEqual([config.state, config.control], [join(folder, 'state'), join(folder, 'run', 'control.sock')]);
    assert.ok((await loadRuleBook(config)).book !== undefined);
    assert.ok(existsSync(join(config.state, 'ledger')));
  });

  it('the same again changes nothing and says so', () => {
    const folder = fresh();
    posternd('init', '-c', join(folder, 'postern.yaml'));
    const before = snapshot(folder);
    const again = posternd('init', '-c', join(folder, 'postern.yaml'));
    assert.equal(again.status, 0, again.stderr);
    assert.deepEqual(snapshot(folder), before);
    assert.doesNotMatch(again.stdout, /^made/m);
    assert.match(again.stdout, /^kept {2}.*host_ed25519 \(server key, stands already\)$/m);
  });

  it('makes only what is missing, where the configuration that stands says', () => {
    const folder = fresh();
    mkdirSync(folder);
    writeFileSync(join(folder, 'postern.yaml'), 'server_key: keys/mine\nprotect: [ssh]\nrules: r\nstate: s\ncontrol: run/c.sock\n');
    const made = posternd('init', '-c', join(folder, 'postern.yaml'), '--json');
    assert.equal(made.status, 0, made.stderr);
    const report = JSON.parse(made.stdout) as { files: { path: string; made: boolean }[]; server_key: string; port: number };
    assert.deepEqual(
      report.files.filter((file) => !file.made).map((file) => file.path),
      [folder, join(folder, 'postern.yaml')],
    );
    assert.match(report.server_key, /^ssh-ed25519 AAAA/);
    assert.deepEqual(readdirSync(folder).sort(), ['keys', 'postern.yaml', 'r', 's']);
    assert.match(readFileSync(join(folder, 'postern.yaml'), 'utf8'), /^server_key: keys\/mine\nprotect: \[ssh\]/);
  });

  it('a configuration that is wrong: exit 2, its problems, and nothing is made', () => {
    const folder = fresh();
    mkdirSync(folder);
    writeFileSync(join(folder, 'postern.yaml'), 'prot: [ssh]\n');
    const made = posternd('init', '-c', join(folder, 'postern.yaml'));
    assert.equal(made.status, 2);
    assert.match(made.stderr, /postern\.yaml:1:1: unknown key "prot": did you mean "port"\?/);
    assert.deepEqual(readdirSync(folder), ['postern.yaml']);
  });

  it('a server key that others can read, or that is no Ed25519 key, is refused and left alone', () => {
    for (const [content, keyMode, expected] of [
      ['x', 0o644, /others can read the secret/],
      ['x', 0o600, /cannot be the server key/],
    ] as const) {
      const folder = fresh();
      mkdirSync(folder);
      writeFileSync(join(folder, 'host_ed25519'), content);
      chmodSync(join(folder, 'host_ed25519'), keyMode);
      const made = posternd('init', '-c', join(folder, 'postern.yaml'));
      assert.equal(made.status, 2);
      assert.match(made.stderr, expected);
      assert.equal(readFileSync(join(folder, 'host_ed25519'), 'utf8'), content);
      assert.equal(existsSync(join(folder, 'postern.yaml')), false);
    }
  });

  it("--use-ssh-host-key takes sshd's key, and warns of what that means", async () => {
    const folder = fresh();
    mkdirSync(folder);
    const hostKey = join(folder, 'ssh_host_ed25519_key');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', hostKey]);
    const told: string[] = [];
    const output = { out: () => undefined, err: (text: string) => void told.push(text) };
    const config = join(folder, 'new', 'postern.yaml');
    await initCommand({ config, json: false, useSshHostKey: true, sshHostKey: hostKey }, output);
    const line = (path: string) => execFileSync('ssh-keygen', ['-y', '-f', path], { encoding: 'utf8' }).split(' ')[1];
    assert.equal(line(join(folder, 'new', 'host_ed25519')), line(hostKey));
    assert.match(told.join('\n'), /impersonate sshd[\s\S]*exactly one replay ledger/);
    told.length = 0;
    await initCommand({ config, json: false, useSshHostKey: true, sshHostKey: hostKey }, output);
    assert.deepEqual(told, ['warning: --use-ssh-host-key changed nothing: a server key stands already']);
  });

  it('without root: exit 3, one line, and what is needed', () => {
    const made = spawnSync(
      'setpriv',
      ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, POSTERND, 'init', '-c', join(ROOT, 'x', 'postern.yaml')],
      { encoding: 'utf8' },
    );
    assert.equal(made.status, 3, made.stderr);
    assert.match(made.stderr, /^posternd: .*run it as root\n$/);
  });

  it('lists what others can reach as candidates, commented out, and not what is on the loopback', async () => {
    const open = createServer().listen(0, '0.0.0.0');
    const local = createServer().listen(0, '127.0.0.1');
    await Promise.all([once(open, 'listening'), once(local, 'listening')]);
    try {
      const folder = fresh();
      await initCommand(
        { config: join(folder, 'postern.yaml'), json: true, useSshHostKey: false },
        { out: () => undefined, err: () => undefined },
      );
      const text = readFileSync(join(folder, 'postern.yaml'), 'utf8');
      assert.match(text, new RegExp(`^ {2}# - tcp/${portOf(open)} +# .*, on every address$`, 'm'));
      assert.ok(!text.includes(`tcp/${portOf(local)} `));
      assert.deepEqual((await loadConfig(join(folder, 'postern.yaml'))).config?.protect, []);
      // Taking the # away is all that is needed.
      writeFileSync(join(folder, 'postern.yaml'), text.replace(`# - tcp/${portOf(open)}`, `- tcp/${portOf(open)}`));
      assert.equal((await loadConfig(join(folder, 'postern.yaml'))).config?.protect[0]?.first, portOf(open));
    } finally {
      open.close();
      local.close();
    }
  });

  it('killed at any moment: what stands is whole, and the next init completes it', async () => {
    for (let round = 0; round < 8; round += 1) {
      const folder = fresh();
      const child = spawn(process.execPath, [POSTERND, 'init', '-c', join(folder, 'postern.yaml')], { stdio: 'ignore' });
      const ended = once(child, 'exit');
      // Not a wait for something to happen, but the moment at which it is interrupted: when n things stand.
      while (child.exitCode === null && child.signalCode === null && !(existsSync(folder) && readdirSync(folder).length >= round / 2)) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      child.kill('SIGKILL');
      await ended;
      const again = posternd('init', '-c', join(folder, 'postern.yaml'));
      assert.equal(again.status, 0, `round ${round}: ${again.stderr}`);
      const whole = readdirSync(folder).filter((name) => !name.startsWith('.'));
      assert.deepEqual(whole.sort(), FILES);
      assert.ok((await loadConfig(join(folder, 'postern.yaml'))).config !== undefined);
      execFileSync('ssh-keygen', ['-y', '-f', join(folder, 'host_ed25519')]);
    }
  });
});

describe('the list of sockets', () => {
  it('is read as the kernel writes it', () => {
    const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0000000000000000 100 0 0 10 0
   1: 0A0A0A0A:0050 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 1235 1 0000000000000000 100 0 0 10 0
   2: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1236 1
`;
    assert.deepEqual(
      parseTable(table, '0A').map(({ address, port, inode }) => [address.text, port, inode]),
      [
        ['127.0.0.1', 22, '1234'],
        ['2001:db8::1', 443, '1236'],
      ],
    );
  });
});

function portOf(server: ReturnType<typeof createServer>): number {
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

function snapshot(folder: string): unknown {
  return (readdirSync(folder, { recursive: true, encoding: 'utf8' }) as string[]).sort().map((name) => {
    const path = join(folder, name);
    const { mtimeMs, ino, mode: bits } = statSync(path);
    return [name, ino, bits, mtimeMs, statSync(path).isFile() ? readFileSync(path, 'base64') : ''];
  });
}
