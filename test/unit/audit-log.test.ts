// The audit log on real files: it goes on over restarts, renamings, cuts and failures, and what it wrote is what `log verify` accepts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { AuditLog } from '../../daemon/audit/audit-log.ts';
import { follow } from '../../daemon/audit/follow.ts';
import { linesOf, listParts } from '../../daemon/audit/parts.ts';
import { ChainCheck, type Finding, type KeptHead } from '../../daemon/audit/verify.ts';
import { systemClock } from '../../daemon/clock.ts';
import type { Decision } from '../../daemon/decision.ts';
import { address } from '../fakes/daemon-host.ts';
import { waitFor } from '../lab/wait.ts';

class Ground {
  readonly folder = mkdtempSync(join(tmpdir(), 'postern-audit-'));
  readonly file = join(this.folder, 'audit.jsonl');
  readonly journal: { readonly level: string; readonly message: string; readonly fields: Record<string, unknown> }[] = [];
  readonly #open: AuditLog[] = [];

  constructor(context: TestContext) {
    context.after(async () => {
      for (const log of this.#open) await log.close();
      rmSync(this.folder, { recursive: true });
    });
  }

  log(more: { readonly maxBytes?: number; readonly keep?: number; readonly file?: string } = {}): AuditLog {
    const write = (level: string) => (fields: object, message: string) => void this.journal.push({ level, message, fields: { ...fields } });
    const settings = { file: this.file, maxBytes: 1024 * 1024, keep: 16, ...more };
    const log = new AuditLog(settings, systemClock, { info: write('info'), warn: write('warn'), error: write('error') });
    this.#open.push(log);
    return log;
  }

  async verified(kept: readonly KeptHead[] = []) {
    const check = new ChainCheck(kept);
    for (const { path } of await listParts(this.file)) for await (const line of linesOf(path)) check.next(path, line);
    return check.end();
  }

  async findings(): Promise<readonly string[]> {
    return (await this.verified()).findings.map(
      ({ severity, at, message }: Finding) => `${severity} ${at.replace(this.folder, '')}: ${message}`,
    );
  }

  events(file = this.file): readonly Record<string, unknown>[] {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.endsWith('"}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  kinds(file = this.file): readonly unknown[] {
    return this.events(file).map(({ event }) => event);
  }
}

function ended(client: string): Decision {
  return { kind: 'ended', client, address: address('192.0.2.7'), services: ['ssh'], why: 'its time was over', grants: [] };
}

function settled(log: AuditLog): Promise<unknown> {
  return waitFor(() => log.state().waiting === 0, { what: 'the entries to be written' });
}

async function write(log: AuditLog, ...clients: readonly string[]): Promise<void> {
  for (const client of clients) log.observe(ended(client));
  await settled(log);
}

describe('the chain goes on', () => {
  test('over a restart', async (context) => {
    const ground = new Ground(context);
    for (const client of ['a', 'b']) {
      const log = ground.log();
      await write(log, client);
      await log.close();
    }
    assert.deepEqual(ground.kinds(), ['begin', 'ended', 'ended']);
    assert.deepEqual(await ground.findings(), []);
  });

  test('behind a line that a kill left half-written: it stays as it is, and the next line names it', async (context) => {
    const ground = new Ground(context);
    const first = ground.log();
    await write(first, 'a', 'b');
    await first.close();
    const before = readFileSync(ground.file);
    truncateSync(ground.file, before.length - 40);
    await write(ground.log(), 'c');
    assert.deepEqual(readFileSync(ground.file).subarray(0, before.length - 40), before.subarray(0, -40));
    assert.deepEqual(ground.kinds().slice(-2), ['damaged', 'ended']);
    assert.match(
      (await ground.findings()).join('\n'),
      /^note \/audit\.jsonl:3: a half-written line \(\d+ bytes\), which the next line names[^\n]*$/,
    );
  });

  test('when a file is full: renamed, the oldest beyond keep removed, lines numbered on', async (context) => {
    const ground = new Ground(context);
    const log = ground.log({ maxBytes: 2000, keep: 3 });
    for (let count = 0; count < 40; count += 1) await write(log, `client-${count}`);
    const parts = await listParts(ground.file);
    assert.equal(parts.length, 4);
    for (const { path } of parts) assert.ok(statSync(path).size <= 2000);
    assert.deepEqual(
      parts.map(({ path }) => ground.events(path)[0]?.['event']),
      parts.map(() => 'begin'),
    );
    assert.equal(ground.events()[0]?.['previous_file'], parts.at(-2)?.path.slice(ground.folder.length + 1));
    assert.match((await ground.findings()).join('\n'), /^note [^\n]*the log begins with line \d+ here[^\n]*$/);
  });

  test('when logrotate renames it, with nobody told', async (context) => {
    const ground = new Ground(context);
    const log = ground.log();
    await write(log, 'a');
    renameSync(ground.file, `${ground.file}.1`);
    await write(log, 'b');
    writeFileSync(`${ground.file}.2.gz`, gzipSync(readFileSync(`${ground.file}.1`)));
    rmSync(`${ground.file}.1`);
    renameSync(ground.file, `${ground.file}.1`);
    writeFileSync(ground.file, '', { mode: 0o600 });
    await write(log, 'c');
    assert.equal(ground.events()[0]?.['previous_file'], 'audit.jsonl.1');
    assert.deepEqual(await ground.findings(), []);
    assert.equal((await ground.verified()).lines, 6);
  });

  test('when it was renamed and packed while no daemon ran', async (context) => {
    const ground = new Ground(context);
    const log = ground.log();
    await write(log, 'a', 'b');
    await log.close();
    writeFileSync(`${ground.file}.1.gz`, gzipSync(readFileSync(ground.file)));
    rmSync(ground.file);
    await write(ground.log(), 'c');
    assert.deepEqual(await ground.findings(), []);
    assert.deepEqual(ground.events()[0]?.['previous_file'], 'audit.jsonl.1.gz');
  });

  test('when copytruncate cuts it: the journal and the chain say so, and with the copy it holds', async (context) => {
    const ground = new Ground(context);
    const log = ground.log();
    await write(log, 'a', 'b');
    copyFileSync(ground.file, `${ground.file}.1`);
    truncateSync(ground.file, 0);
    await write(log, 'c');
    assert.match(ground.journal.map(({ message }) => message).join('\n'), /somebody cut .* remove "copytruncate"/);
    assert.deepEqual(
      ground.events().map(({ event, why }) => [event, why]),
      [
        ['begin', 'cut'],
        ['ended', 'its time was over'],
      ],
    );
    assert.deepEqual(await ground.findings(), []);
    rmSync(`${ground.file}.1`);
    assert.match((await ground.findings()).join(), /the log begins with line 4 here/);
  });

  test('when somebody else writes into it: told at once, and found', async (context) => {
    const ground = new Ground(context);
    const log = ground.log();
    await write(log, 'a');
    appendFileSync(ground.file, 'I was never here\n');
    await write(log, 'b');
    assert.match(ground.journal.map(({ message }) => message).join('\n'), /somebody else wrote 17 bytes into/);
    assert.deepEqual(ground.kinds().slice(-2), ['damaged', 'ended']);
    assert.deepEqual(ground.events().at(-2)?.['bytes'], 16);
  });
});

const noLogrotate = spawnSync('logrotate', ['--version']).status === 0 ? false : 'logrotate is not installed';

describe('with the real logrotate', { skip: noLogrotate }, () => {
  /** Turns the files over, as cron would. */
  const rotate = (ground: Ground, ...more: readonly string[]): void => {
    const config = join(ground.folder, 'logrotate.conf');
    writeFileSync(config, `${ground.file} {\n  su root root\n  rotate 5\n  ${more.join('\n  ')}\n}\n`, { mode: 0o600 });
    const { status, stderr } = spawnSync('logrotate', ['-f', '-s', join(ground.folder, 'logrotate.state'), config], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  };

  const table: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['create', ['create 0640'], ['audit.jsonl', 'audit.jsonl.1', 'audit.jsonl.2', 'audit.jsonl.3']],
    ['nocreate and compress', ['nocreate', 'compress'], ['audit.jsonl', 'audit.jsonl.1.gz', 'audit.jsonl.2.gz', 'audit.jsonl.3.gz']],
    ['delaycompress', ['compress', 'delaycompress'], ['audit.jsonl', 'audit.jsonl.1', 'audit.jsonl.2.gz', 'audit.jsonl.3.gz']],
    ['extension', ['extension .jsonl', 'dateext', 'dateformat -%Y%m%d%H-%s'], []],
  ];
  for (const [text, directives, names] of table) {
    test(`${text}: nobody is told, and no line is lost`, { skip: process.getuid?.() !== 0 && 'needs root' }, async (context) => {
      const ground = new Ground(context);
      const log = ground.log();
      for (const client of ['a', 'b', 'c']) {
        await write(log, client);
        rotate(ground, ...directives);
        // Names with a date of the same second would collide.
        if (names.length === 0) await waitFor(() => Math.floor(Date.now() / 1000) !== Math.floor(statSync(ground.folder).ctimeMs / 1000));
      }
      await write(log, 'd');
      const parts = await listParts(ground.file);
      assert.equal(parts.length, 4, parts.map(({ path }) => path).join());
      if (names.length > 0) assert.deepEqual(parts.map(({ path }) => path.slice(ground.folder.length + 1)).sort(), names);
      assert.deepEqual(await ground.findings(), []);
      assert.equal((await ground.verified()).lines, 8);
    });
  }

  test('copytruncate: named in the journal; what was written before is in the copy', {
    skip: process.getuid?.() !== 0 && 'needs root',
  }, async (context) => {
    const ground = new Ground(context);
    const log = ground.log();
    await write(log, 'a');
    rotate(ground, 'copytruncate');
    await write(log, 'b');
    assert.match(ground.journal.map(({ message }) => message).join('\n'), /somebody cut .* remove "copytruncate"/);
    assert.deepEqual(await ground.findings(), []);
  });
});

describe('what cannot be written never holds anybody up, and is never silent', () => {
  const obstacles: readonly (readonly [string, (ground: Ground) => void, RegExp])[] = [
    ['a FIFO that nobody reads', ({ file }) => assert.equal(spawnSync('mkfifo', [file]).status, 0), /not a regular file/],
    ['a folder', ({ file }) => mkdirSync(file), /EISDIR/],
    ['a symbolic link', ({ file, folder }) => symlinkSync(join(folder, 'elsewhere'), file), /ELOOP/],
  ];
  for (const [text, place, why] of obstacles) {
    test(`${text} in its place: told in the journal and by state; written once it is gone`, async (context) => {
      const ground = new Ground(context);
      place(ground);
      const log = ground.log();
      const before = performance.now();
      for (let count = 0; count < 100; count += 1) log.observe(ended('a'));
      assert.ok(performance.now() - before < 100);
      await waitFor(() => log.state().state === 'failing');
      assert.match(log.state().note, why);
      assert.match(ground.journal[0]?.message ?? '', /the audit log cannot be written: knocks go on/);
      rmSync(ground.file, { recursive: true });
      await settled(log);
      await waitFor(() => log.state().state === 'written');
      assert.match(ground.journal.at(-1)?.message ?? '', /the audit log is written again/);
      assert.equal(ground.kinds().length, 101);
      assert.deepEqual(await ground.findings(), []);
    });
  }

  test('more than can wait is left out, counted, and stands in the chain as lost, in its place', async (context) => {
    const ground = new Ground(context);
    mkdirSync(ground.file);
    const log = ground.log({ maxBytes: 2 ** 30 });
    for (let count = 0; count < 100_000; count += 1) log.observe(ended(`client-${count}`));
    const { lost, waiting } = log.state();
    assert.ok(lost > 0 && waiting + lost >= 100_000, `${lost} lost, ${waiting} wait`);
    rmSync(ground.file, { recursive: true });
    await waitFor(() => log.state().waiting === 0, { deadlineMs: 20_000 });
    await write(log, 'after');
    const events = ground.events();
    assert.equal(events.filter(({ event }) => event === 'ended').length + lost, 100_001);
    assert.deepEqual([events.at(-2)?.['event'], events.at(-2)?.['count']], ['lost', lost]);
    assert.deepEqual(await ground.findings(), []);
  });

  test('two daemons never write one file: the second says so', async (context) => {
    const ground = new Ground(context);
    await write(ground.log(), 'a');
    const child = spawnSync(process.execPath, ['-e', SECOND_DAEMON, ground.file], { encoding: 'utf8' });
    assert.match(child.stdout, /another process writes it/, child.stderr);
    assert.deepEqual(ground.kinds(), ['begin', 'ended']);
  });

  test('at the end, what still waits is told as lost', async (context) => {
    const ground = new Ground(context);
    mkdirSync(ground.file);
    const log = ground.log();
    log.observe(ended('a'));
    await log.close();
    assert.match(ground.journal.at(-1)?.message ?? '', /audit entries are lost with this stop/);
  });
});

const SECOND_DAEMON = `
import(${JSON.stringify(new URL('../../daemon/audit/audit-file.js', import.meta.url).href)})
  .then(({ openAuditFile }) => openAuditFile(process.argv[1]))
  .then(() => console.log('opened'), (error) => console.log(error.message));`;

test('the file is readable by owner and group alone, and keeps a mode that somebody gave it', async (context) => {
  const ground = new Ground(context);
  const log = ground.log();
  await write(log, 'a');
  assert.equal(statSync(ground.file).mode & 0o777, 0o640);
  renameSync(ground.file, `${ground.file}.1`);
  writeFileSync(ground.file, '', { mode: 0o600 });
  await write(log, 'b');
  assert.equal(statSync(ground.file).mode & 0o777, 0o600);
});

test('the head is told when it moved, and only then', async (context) => {
  const ground = new Ground(context);
  const log = ground.log();
  await log.tellHead();
  await write(log, 'a');
  await log.tellHead();
  await log.tellHead();
  const heads = ground.journal.filter(({ message }) => message === 'audit head');
  assert.deepEqual(
    heads.map(({ fields }) => [fields['n'], fields['hash']]),
    [[2, log.state().head?.hash]],
  );
});

test('junk is no line: without a proven client there is no entry', async (context) => {
  const ground = new Ground(context);
  const log = ground.log();
  for (let count = 0; count < 1000; count += 1)
    log.observe({ kind: 'dropped', reason: 'seal', detail: '', client: undefined, address: address('192.0.2.7') });
  assert.equal(log.state().waiting, 0);
  await log.close();
  assert.ok(!existsSync(ground.file));
});

test('follow gives every line once, through renamings faster than it looks', async (context) => {
  const ground = new Ground(context);
  const log = ground.log({ maxBytes: 1500, keep: 100 });
  const seen: number[] = [];
  const stop = new AbortController();
  const pauses: (() => void)[] = [];
  const reading = (async () => {
    const pause = () => new Promise<void>((resolve) => (stop.signal.aborted ? resolve() : void pauses.push(resolve)));
    for await (const { text } of follow(ground.file, 0, pause)) {
      seen.push((JSON.parse(text) as { n: number }).n);
      if (seen.length >= 1 && stop.signal.aborted && seen.at(-1) === log.state().head?.n) return;
    }
  })();
  for (let count = 0; count < 60; count += 1) {
    await write(log, `client-${count}`);
    // It looks only now and then, and several files come and go in between.
    if (count % 20 === 7) for (const go of pauses.splice(0)) go();
  }
  stop.abort();
  for (const go of pauses.splice(0)) go();
  await write(log, 'last');
  await reading;
  assert.ok(readdirSync(ground.folder).length > 10);
  assert.deepEqual(
    seen,
    seen.map((_, at) => at + 1),
  );
});
