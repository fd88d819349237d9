// Which files may decide who gets in: judged by what was opened, not by its name (P35, P38).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { loadConfig } from '../../daemon/config/load.ts';
import { readPresharedKey } from '../../daemon/config/preshared-key.ts';
import { type FileTrust, readTrustedFile } from '../../daemon/config/trusted-file.ts';

const FOLDER = mkdtempSync(join(tmpdir(), 'postern-trusted-'));
after(() => rmSync(FOLDER, { recursive: true }));
const isRoot = process.geteuid?.() === 0;

let count = 0;
function fresh(): string {
  count += 1;
  return join(FOLDER, `f${count}`);
}

function file(mode: number, content = 'x', owner?: number): string {
  const path = fresh();
  writeFileSync(path, content);
  if (owner !== undefined) chownSync(path, owner, owner);
  chmodSync(path, mode);
  return path;
}

type Case = {
  readonly text: string;
  readonly make: () => string;
  readonly config: string;
  readonly secret: string;
  readonly foreign: string;
  readonly needsRoot?: true;
};

const CASES: readonly Case[] = [
  { text: 'owner alone', make: () => file(0o600), config: 'ok', secret: 'ok', foreign: 'ok' },
  { text: 'everybody may read', make: () => file(0o644), config: 'ok', secret: 'readable', foreign: 'ok' },
  { text: 'the group may read', make: () => file(0o640), config: 'ok', secret: 'readable', foreign: 'ok' },
  { text: 'the group may write', make: () => file(0o660), config: 'writable', secret: 'readable', foreign: 'writable' },
  { text: 'everybody may write', make: () => file(0o602), config: 'writable', secret: 'readable', foreign: 'writable' },
  { text: 'another owner', make: () => file(0o600, 'x', 54_321), config: 'owner', secret: 'owner', foreign: 'ok', needsRoot: true },
  { text: 'a folder', make: () => FOLDER, config: 'not-regular', secret: 'not-regular', foreign: 'not-regular' },
  { text: 'a device', make: () => '/dev/zero', config: 'not-regular', secret: 'not-regular', foreign: 'not-regular' },
  { text: 'missing', make: () => join(FOLDER, 'none'), config: 'ENOENT', secret: 'ENOENT', foreign: 'ENOENT' },
  {
    text: 'a FIFO, which would wait for ever',
    make: () => {
      const path = fresh();
      execFileSync('mkfifo', [path]);
      return path;
    },
    config: 'not-regular',
    secret: 'not-regular',
    foreign: 'not-regular',
  },
  {
    text: 'a symbolic link, wherever it leads',
    make: () => {
      const path = fresh();
      symlinkSync(file(0o600), path);
      return path;
    },
    config: 'ELOOP',
    secret: 'ELOOP',
    foreign: 'ELOOP',
  },
  { text: 'larger than allowed', make: () => file(0o600, 'y'.repeat(101)), config: 'too-large', secret: 'too-large', foreign: 'too-large' },
];

describe('a file that decides', () => {
  for (const each of CASES) {
    for (const trust of ['config', 'secret', 'foreign'] satisfies FileTrust[]) {
      it(`${each.text}: as ${trust} ${each[trust]}`, { skip: each.needsRoot === true && !isRoot }, async () => {
        const read = await readTrustedFile(each.make(), trust, 100);
        assert.equal(read.ok ? 'ok' : read.code, each[trust]);
      });
    }
  }

  it('is read whole up to its limit', async () => {
    const read = await readTrustedFile(file(0o600, 'z'.repeat(100)), 'config', 100);
    assert.equal(read.ok && read.bytes.toString(), 'z'.repeat(100));
  });

  it("what systemd laid into the credentials folder is taken with the group bits of systemd's access list", async () => {
    const folder = join(FOLDER, 'credentials');
    mkdirSync(folder);
    const path = join(folder, 'host_ed25519');
    writeFileSync(path, 'x');
    chmodSync(path, 0o440);
    assert.equal((await readTrustedFile(path, 'secret', 100)).ok, false);
    process.env['CREDENTIALS_DIRECTORY'] = folder;
    try {
      assert.equal((await readTrustedFile(path, 'secret', 100)).ok, true);
    } finally {
      delete process.env['CREDENTIALS_DIRECTORY'];
    }
  });

  it('a configuration of more than 1 MiB is some other file', async () => {
    const { config, problems } = await loadConfig(file(0o600, '#'.repeat(1024 * 1024 + 1)));
    assert.equal(config, undefined);
    assert.match(problems[0]?.message ?? '', /larger than 1024 KiB/);
  });
});

describe('a pre-shared key', () => {
  const good = Buffer.from(Array.from({ length: 32 }, (_, at) => at * 7)).toString('base64');
  const cases: readonly (readonly [text: string, content: string, ok: boolean])[] = [
    ['32 bytes in base64', `${good}\n`, true],
    ['without a line end', good, true],
    ['31 bytes', Buffer.alloc(31, 1).toString('base64'), false],
    ['33 bytes', Buffer.alloc(33, 1).toString('base64'), false],
    ['in hexadecimal', Buffer.alloc(32, 1).toString('hex'), false],
    ['all zero', Buffer.alloc(32).toString('base64'), false],
    ['empty', '', false],
    ['two lines', `${good}\n${good}\n`, false],
  ];
  for (const [text, content, ok] of cases) {
    it(`${text} is ${ok ? 'taken' : 'refused, and not repeated in the message'}`, async () => {
      const key = await readPresharedKey(file(0o600, content));
      assert.equal(key.ok, ok);
      if (!key.ok && content !== '') assert.ok(!key.why.includes(content.trim().slice(0, 20)));
    });
  }
  it('that others can read is refused', async () => assert.equal((await readPresharedKey(file(0o644, good))).ok, false));
});
