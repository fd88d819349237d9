// Black box: the audit log of a running posternd. Who asked for what is there, signed; a disk that cannot be written costs lines, never knocks.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { run } from '../lab/process.ts';
import { FORBIDDEN_PORT, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

type Entry = Readonly<Record<string, unknown>> & { readonly event: string };

describe('the audit log', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  const file = () => stage.postern.auditFile;
  const folder = () => dirname(file());
  const entries = (path = file()): readonly Entry[] =>
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .filter((line) => line.endsWith('"}'))
      .map((line) => JSON.parse(line) as Entry);
  const audit = async () => (await stage.postern.status()).audit;
  const written = (event: string, count: number) =>
    waitFor(() => entries().filter((entry) => entry.event === event).length >= count, { what: `${count} ${event}` });
  /** `log verify` takes the configuration's option behind its own name. */
  const logVerify = async (...args: readonly string[]) =>
    stage.server.exec([process.execPath, stage.postern.main, 'log', 'verify', '-c', stage.postern.configFile, ...args], { mayFail: true });

  before(async () => {
    stage = await Stage.create({ label: 'audit' });
  });
  after(() => stage?.close());

  test('holds each decision on a signed knock, what an administrator did, and what became of the daemon', async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '40s');
    await stage.alice.knock([profileOf(address), `tcp/${FORBIDDEN_PORT}`, '--retries', '0', '--timeout', '1s'], { mayFail: true });
    await stage.alice.knock(['close', profileOf(address)]);
    await written('closed', 1);
    await stage.postern.posternd(['grant', '198.18.7.7', REQUEST, '--ttl', '1m']);
    await stage.postern.posternd(['revoke', '198.18.7.7']);
    await stage.knock(address, '-t', '1s');
    await written('ended', 1);
    await stage.postern.posternd(['reload']);
    const rules = readFileSync(stage.postern.rulesFile);
    writeFileSync(stage.postern.rulesFile, 'clients: 5\n');
    await stage.postern.posternd(['reload'], { mayFail: true });
    writeFileSync(stage.postern.rulesFile, rules);
    await written('reload-failed', 1);
    // Junk is not listed.
    await stage.client.sendUdp(address, 62201, [new Uint8Array(300).fill(7)]);
    await stage.postern.stop();
    const events = entries().map(({ event }) => event);
    assert.deepEqual(events, [
      ...['begin', 'start', 'gate-up', 'granted', 'refused', 'closed', 'order', 'granted', 'order', 'revoked', 'granted', 'ended'],
      ...['order', 'reload', 'order', 'reload-failed', 'stop'],
    ]);
    assert.deepEqual(
      entries()
        .filter(({ event }) => event === 'order')
        .map(({ user, command }) => [user, command]),
      [
        [0, `grant 198.18.7.7 ${REQUEST} --ttl 1m`],
        [0, 'revoke 198.18.7.7'],
        [0, 'reload'],
        [0, 'reload'],
      ],
    );
    const refused = entries()[4];
    assert.deepEqual([refused?.['client'], refused?.['address'], refused?.['reason']], ['alice', stage.client.ipv4(), 'not-allowed']);
    assert.equal(statSync(file()).mode & 0o777, 0o640);
    await stage.postern.start();
    const { stdout, code, stderr } = await logVerify();
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /4 signatures of knocks hold, for server SHA256:\S+\n {2}by SHA256:\S+ \(alice\)/);
    assert.match(stdout, /compared with the running daemon/);
  });

  test('is readable by a tired person, by client and time', async () => {
    const { stdout } = await stage.postern.posternd(['log', '--client', 'alice', '--since', '1h']);
    const line = new RegExp(`^[0-9-]{10} [0-9:]{8} {2}granted +alice from ${stage.client.ipv4()} to ${REQUEST} for 40s \\(g1\\)$`, 'm');
    assert.match(stdout, line);
    assert.match(stdout, new RegExp(`refused +alice from \\S+: not-allowed .*asked for tcp/${FORBIDDEN_PORT}`));
    assert.doesNotMatch(stdout, /administrator|start/);
    const none = await stage.postern.posternd(['log', '--until', '2026-01-01', '--client', 'alcie']);
    assert.deepEqual([none.stdout, none.stderr, none.code], ['', 'nothing in the log about "alcie" in that time\n', 0]);
    assert.match((await stage.postern.posternd(['log'])).stdout, /198\.18\.7\.7 to tcp\/8022 for 1m, by an administrator \(g\d+\)/);
  });

  test('goes on after kill -9 in the middle of a line, which stays as evidence', async () => {
    await stage.postern.killHard();
    truncateSync(file(), statSync(file()).size - 25);
    await stage.postern.start();
    await written('start', 3);
    const { stdout, code } = await logVerify();
    assert.equal(code, 0, stdout);
    assert.match(stdout, /audit\.jsonl:\d+: note: a half-written line \(\d+ bytes\), which the next line names/);
  });

  test('follows a renaming by logrotate, and so does log --follow', async () => {
    const following = stage.server.start([
      process.execPath,
      stage.postern.main,
      'log',
      '-f',
      '--client',
      'alice',
      '-c',
      stage.postern.configFile,
    ]);
    await following.waitForOutput(/granted/);
    await run(['mv', file(), `${file()}.1`]);
    await stage.knock(stage.server.ipv4(), '-t', '77s');
    await waitFor(() => existsSync(file()));
    await following.waitForOutput(/for 77s/);
    await following.stop();
    assert.equal(entries()[0]?.['previous_file'], 'audit.jsonl.1');
    const { code, stdout, stderr } = await logVerify();
    assert.equal(code, 0, stdout + stderr);
  });

  test('names a line that somebody changed, by file and line', async () => {
    const original = readFileSync(`${file()}.1`, 'utf8');
    writeFileSync(`${file()}.1`, original.replace('"lifetime_seconds":40', '"lifetime_seconds":41'));
    const { code, stderr } = await logVerify();
    assert.equal(code, 1);
    assert.match(stderr, /audit\.jsonl\.1:4: line 4 was changed: its hash does not fit\n/);
    assert.match(stderr, /the audit log is NOT as it was written: 1 finding/);
    writeFileSync(`${file()}.1`, original);
  });

  test('a cut at the end is found by the running daemon, and by the heads in its journal', async () => {
    const journal = join(folder(), 'journal');
    await stage.postern.stop();
    writeFileSync(journal, stage.postern.daemon.stdout);
    const content = readFileSync(file());
    const cut = content.lastIndexOf('\n', content.length - 2) + 1;
    truncateSync(file(), cut);
    assert.equal((await logVerify()).code, 0);
    const { code, stderr } = await logVerify('--heads', journal);
    assert.equal(code, 1);
    assert.match(stderr, /^line \d+ with the hash [0-9a-f]{64} is not in the log: its end was cut off/);
    writeFileSync(file(), content);
    assert.equal((await logVerify('--heads', journal)).code, 0);
    await stage.postern.start();
    await written('start', 1);
    truncateSync(file(), cut);
    const again = await logVerify();
    assert.equal(again.code, 1, again.stdout);
  });

  test('a full disk costs lines, never knocks; status and journal say so, and the chain when there is room again', async () => {
    await stage.postern.stop();
    rmSync(folder(), { recursive: true });
    mkdirSync(folder());
    await run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder()]);
    try {
      const filler = join(folder(), 'filler');
      await stage.postern.start();
      await written('start', 1);
      await run(['sh', '-c', `dd if=/dev/zero of=${filler} bs=4096 2>/dev/null || true`]);
      for (let knocks = 0; knocks < 8; knocks += 1) assert.match(await stage.knock(stage.server.ipv4(), '-t', '20s'), /open after/);
      await waitFor(async () => (await audit())?.state === 'failing');
      assert.match((await audit())?.note ?? '', /ENOSPC/);
      assert.match((await stage.postern.posternd(['status'])).stdout, /audit +CANNOT BE WRITTEN \(ENOSPC/);
      assert.match(stage.postern.daemon.stdout, /the audit log cannot be written: knocks go on/);
      rmSync(filler);
      await waitFor(async () => (await audit())?.waiting === 0);
      assert.match(stage.postern.daemon.stdout, /the audit log is written again/);
      await stage.postern.stop();
      await run(['mount', '-o', 'remount,ro', folder()]);
      await stage.postern.start();
      assert.match(await stage.knock(stage.server.ipv4(), '-t', '20s'), /open after/);
      await waitFor(async () => /EROFS/.test((await audit())?.note ?? ''));
      // The daemon has mounts of its own (ip netns exec).
      const { pid } = await stage.postern.status();
      await run(['nsenter', '-t', String(pid), '-m', 'mount', '-o', 'remount,rw', folder()]);
      await written('granted', 9);
      const { code, stdout, stderr } = await logVerify();
      assert.equal(code, 0, stdout + stderr);
    } finally {
      await stage.postern.stop();
      await run(['umount', '-l', folder()]);
    }
  });

  test('a disk that does not answer at all holds up no knock', async () => {
    const image = join(stage.postern.folder, 'disk.img');
    await run(['sh', '-c', `truncate -s 8M ${image} && mkfs.ext4 -q -F ${image}`]);
    await run(['mount', '-o', 'loop', image, folder()]);
    try {
      await stage.postern.start();
      await written('start', 1);
      await run(['fsfreeze', '-f', folder()]);
      for (let knocks = 0; knocks < 5; knocks += 1) assert.match(await stage.knock(stage.server.ipv4(), '-t', '20s'), /open after/);
      assert.ok(((await audit())?.waiting ?? 0) >= 4);
      await run(['fsfreeze', '-u', folder()]);
      await written('granted', 5);
      assert.equal((await logVerify()).code, 0);
    } finally {
      await run(['fsfreeze', '-u', folder()], { mayFail: true });
      await stage.postern.stop();
      await run(['umount', '-l', folder()]);
    }
  });

  test('bad input gets one line and the right exit code', async () => {
    const table: readonly (readonly [readonly string[], number, RegExp])[] = [
      [['log', '--since', 'tomorrow'], 2, /--since: "tomorrow" is no time: write 30m, 12h, yesterday/],
      [['log', '--until', '5'], 2, /--until: "5" is no time/],
      [['log'], 1, /there is no audit log at .*: it begins with the first start of posternd/],
    ];
    rmSync(folder(), { recursive: true, force: true });
    for (const [args, code, message] of table) {
      const result = await stage.postern.posternd(args, { mayFail: true });
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, message);
      assert.equal(result.stderr.trim().split('\n').length, 1);
    }
    for (const [args, code, message] of [
      [['--head', 'abc'], 2, /--head: "abc" is no head/],
      [['--heads', '/nonexistent'], 2, /--heads: cannot read "\/nonexistent" \(ENOENT\)/],
      [['/nonexistent'], 1, /there is no file \/nonexistent: name the audit log/],
    ] as const) {
      const result = await logVerify(...args);
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, message);
    }
  });
});
