// Hooks as real programs: what they get, what they have not got, how many run at once, and what becomes of those that fail, hang or are gone.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { monotonicMs, systemClock } from '../../daemon/clock.ts';
import type { Decision } from '../../daemon/decision.ts';
import type { Grant } from '../../daemon/grants/grant-book.ts';
import { HookRunner } from '../../daemon/hooks/hook-runner.ts';
import { hookUser } from '../../daemon/hooks/hook-user.ts';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { waitFor } from '../lab/wait.ts';

type Line = { readonly message: string; readonly fields: Readonly<Record<string, unknown>> };

class Ground {
  readonly folder: string;
  /** Where hooks may write. */
  readonly out: string;
  readonly warnings: Line[] = [];
  runner: HookRunner;

  private constructor(context: TestContext, runner: (ground: Ground) => HookRunner) {
    this.folder = mkdtempSync(join(tmpdir(), 'postern-hooks-'));
    chmodSync(this.folder, 0o755);
    this.out = join(this.folder, 'out');
    mkdirSync(this.out);
    chmodSync(this.out, 0o777);
    this.runner = runner(this);
    context.after(async () => {
      await this.runner.stop();
      rmSync(this.folder, { recursive: true });
    });
  }

  static async make(context: TestContext, timeLimitMs = 10_000): Promise<Ground> {
    const user = await hookUser();
    const log = (ground: Ground) => ({
      debug: () => undefined,
      warn: (fields: object, message: string) => void ground.warnings.push({ message, fields: fields as Line['fields'] }),
    });
    return new Ground(context, (ground) => new HookRunner({ user, now: systemClock.monotonic, log: log(ground), timeLimitMs }));
  }

  /** A program that root owns and anybody may run. */
  script(name: string, body: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  read(name: string): string {
    return readFileSync(join(this.out, name), 'utf8');
  }

  async appears(name: string): Promise<string> {
    await waitFor(() => existsSync(join(this.out, name)), { what: name });
    return this.read(name);
  }
}

function grant(id: string, onOpen: readonly [string, ...string[]] | undefined, onClose?: readonly [string, ...string[]]): Grant {
  const address = parseAddress('2001:db8::7');
  assert.ok(address.ok);
  return {
    id,
    client: 'alice',
    key: 'key-a',
    address: address.value,
    label: 'ssh',
    ports: [{ protocol: 'tcp', first: 22, last: 22 }],
    kind: 'grant',
    sourcePort: 0,
    sentAtMs: unixMs(1),
    grantedAtMs: unixMs(1),
    deadlineMs: monotonicMs(systemClock.monotonic() + 60_000),
    hooks: { onOpen, onClose },
  };
}

function granted(...grants: readonly Grant[]): Decision {
  const [{ client, address } = grant('g0', undefined)] = grants;
  return { kind: 'granted', client, address, services: ['ssh'], lifetimeSeconds: 60, prolonged: false, grants };
}

function over(kind: 'closed' | 'revoked' | 'ended', each: Grant): Decision {
  return { kind, client: each.client, address: each.address, services: ['ssh'], why: '', grants: [each] };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('gets its arguments one by one, a clean environment, no capability, and is never root', async (context) => {
  const ground = await Ground.make(context);
  process.env['POSTERN_SECRET'] = 'x';
  context.after(() => delete process.env['POSTERN_SECRET']);
  const script = ground.script(
    'look',
    `cat /proc/$$/environ > ${ground.out}/environ; cat /proc/self/status > ${ground.out}/status
     echo "$(readlink /proc/$$/fd/0) $(readlink /proc/$$/fd/1)" > ${ground.out}/fds; pwd > ${ground.out}/cwd
     printf '%s|' "$@" > ${ground.out}/args; mv ${ground.out}/args ${ground.out}/done`,
  );
  const nasty = ['two words', '$(touch /tmp/never)', '`id`', '; reboot', '-rf', '', 'line\nbreak', '*', '~'];
  ground.runner.observe(granted(grant('g1', [script, '{client}', '{address}', 'to {service} ({ports})', ...nasty])));
  assert.equal(await ground.appears('done'), ['alice', '2001:db8::7', 'to ssh (tcp/22)', ...nasty, ''].join('|'));
  assert.deepEqual(ground.read('environ').split('\0').filter(Boolean).sort(), ['HOME=/', 'LC_ALL=C', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin']);
  const status = ground.read('status');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) assert.match(status, new RegExp(`^${set}:\\s+0+$`, 'm'), set);
  assert.doesNotMatch(status, /^Uid:\s+0\b/m);
  assert.match(status, /^Groups:\s*$/m);
  assert.equal(ground.read('fds'), '/dev/null /dev/null\n');
  assert.equal(ground.read('cwd'), '/\n');
  assert.deepEqual(ground.warnings, []);
});

test('has no capability either where the daemon is not root and has CAP_NET_ADMIN, as under systemd', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-hooks-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const module = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const program = `
    const { clearAmbientCapabilities, forbidNewPrivileges, hasNetAdmin } = await import(${module('../../daemon/netlink/capabilities.js')});
    const { run, runConfined } = await import(${module('../../daemon/spawn.js')});
    clearAmbientCapabilities();
    forbidNewPrivileges();
    const lent = await run(['grep', 'CapEff', '/proc/self/status'], { timeoutMs: 5000 });
    const { ended } = runConfined(['sh', '-c', 'grep -E "Cap|NoNew" /proc/self/status >&2'], { user: undefined, timeoutMs: 5000 });
    console.log(JSON.stringify({ own: hasNetAdmin(), lent: lent.stdout, hook: (await ended).stderr }));`;
  const output = execFileSync(
    'setpriv',
    [
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      '--inh-caps=+net_admin',
      '--ambient-caps=+net_admin',
      process.execPath,
      '--input-type=module',
      '-e',
      program,
    ],
    { encoding: 'utf8' },
  );
  const seen = JSON.parse(output) as { own: boolean; lent: string; hook: string };
  assert.equal(seen.own, true, 'the daemon has it');
  assert.match(seen.lent, /CapEff:\s+0000000000001000/, 'a firewall tool is lent it');
  for (const set of ['CapPrm', 'CapEff', 'CapAmb']) assert.match(seen.hook, new RegExp(`^${set}:\\s+0+$`, 'm'), set);
  assert.match(seen.hook, /^NoNewPrivs:\s+1$/m);
});

test('on_open when a grant begins, not when it is prolonged; on_close when it ended, once, with what ended it', async (context) => {
  const ground = await Ground.make(context);
  const script = ground.script('note', `echo "$1 $2 $3" >> ${ground.out}/notes`);
  const events = async (...lines: readonly string[]) =>
    waitFor(() => ground.read('notes') === lines.map((line) => `${line}\n`).join(''), { what: lines.join() });
  const note = [script, '{event}', '{grant}', '{lifetime}'] as const;
  const [one, two, three] = [grant('g1', note, note), grant('g2', undefined, note), grant('g3', note)];
  ground.runner.observe(granted(one));
  ground.runner.observe(granted({ ...one, deadlineMs: monotonicMs(one.deadlineMs + 1000) }));
  await events('open g1 1m');
  ground.runner.observe(granted(two));
  ground.runner.observe(over('ended', two));
  ground.runner.observe(over('ended', two));
  await events('open g1 1m', 'ended g2 0s');
  ground.runner.observe(over('revoked', one));
  await events('open g1 1m', 'ended g2 0s', 'revoked g1 0s');
  ground.runner.observe(granted(three));
  ground.runner.observe(over('closed', three));
  await events('open g1 1m', 'ended g2 0s', 'revoked g1 0s', 'open g3 1m');
  assert.deepEqual(ground.warnings, []);
});

test('a grant of an earlier daemon ends here, and does not begin again', async (context) => {
  const ground = await Ground.make(context);
  const script = ground.script('note', `echo "$1" >> ${ground.out}/notes`);
  const old = grant('g1', [script, '{event}'], [script, '{event}']);
  ground.runner.adopt([old]);
  ground.runner.observe(granted(old));
  ground.runner.observe(over('closed', old));
  assert.equal(await ground.appears('notes'), 'closed\n');
});

test('one that hangs is killed after its time, with all that it started', async (context) => {
  const ground = await Ground.make(context, 400);
  const script = ground.script('hang', `sleep 1000 & echo $! > ${ground.out}/child; echo $$ > ${ground.out}/pid; wait`);
  ground.runner.observe(granted(grant('g1', [script])));
  await waitFor(() => ground.warnings.length === 1, { what: 'the warning' });
  assert.deepEqual(ground.warnings[0]?.message, 'hook failed');
  assert.match(String(ground.warnings[0]?.fields['why']), /^took longer than 400 ms and was killed$/);
  for (const name of ['pid', 'child']) await waitFor(() => !isAlive(Number(ground.read(name))), { what: `the end of ${name}` });
});

test('one that ends leaves nothing of itself running', async (context) => {
  const ground = await Ground.make(context);
  const script = ground.script('leave', `sleep 1000 & echo $! > ${ground.out}/child`);
  ground.runner.observe(granted(grant('g1', [script])));
  const child = Number(
    await waitFor(() => existsSync(join(ground.out, 'child')) && Number(ground.read('child')) > 1 && ground.read('child'), {
      what: 'the child',
    }),
  );
  await waitFor(() => !isAlive(child), { what: 'its end' });
});

test('one that fails, is gone, or was opened to others since the rules were loaded is a line in the log and nothing else', async (context) => {
  const ground = await Ground.make(context);
  const failing = ground.script('failing', 'printf "no \\033[31mroute\\nmore" >&2; exit 3');
  const killed = ground.script('killed', 'kill -9 $$');
  const writable = ground.script('writable', `touch ${ground.out}/never`);
  chmodSync(writable, 0o777);
  const noInterpreter = join(ground.folder, 'nointerpreter');
  writeFileSync(noInterpreter, '#!/no/such/interpreter\n');
  chmodSync(noInterpreter, 0o755);
  const last = ground.script('last', `touch ${ground.out}/last`);
  for (const [at, program] of [failing, killed, writable, join(ground.folder, 'gone'), noInterpreter, last].entries())
    ground.runner.observe(granted(grant(`g${at + 1}`, [program])));
  await ground.appears('last');
  await waitFor(() => ground.warnings.length === 5, { what: 'five warnings' });
  const lines = ground.warnings.map(({ fields }) => `${fields['grant']} ${fields['why']} ${fields['said'] ?? ''}`).sort();
  for (const [at, expected] of [
    /^g1 exit code 3 no .*route$/,
    /^g2 was ended by SIGKILL $/,
    /^g3 not run: others can write .*writable/,
    /^g4 not run: there is no program .*gone/,
    /^g5 could not be started: .*ENOENT/,
  ].entries())
    assert.match(lines[at] ?? '', expected);
  assert.doesNotMatch(lines.join(''), /\p{Cc}/u);
  assert.deepEqual(ground.warnings[0]?.fields['client'], 'alice');
  assert.equal(existsSync(join(ground.out, 'never')), false);
});

test('one that floods its outputs does not fill our memory, and is killed in time', async (context) => {
  const ground = await Ground.make(context, 500);
  const script = ground.script('flood', 'yes & yes >&2');
  const before = process.memoryUsage().rss;
  ground.runner.observe(granted(grant('g1', [script])));
  await waitFor(() => ground.warnings.length === 1, { what: 'the warning' });
  assert.match(String(ground.warnings[0]?.fields['why']), /took longer/);
  assert.ok(process.memoryUsage().rss - before < 200 * 1024 * 1024);
});

test('200 grants in one moment: all are told, four at a time', async (context) => {
  const ground = await Ground.make(context);
  // Each leaves the number of those that ran beside it.
  const script = ground.script(
    'count',
    `mkdir ${ground.out}/r$1; ls ${ground.out} | grep -c ^r > ${ground.out}/.n$1; rmdir ${ground.out}/r$1; mv ${ground.out}/.n$1 ${ground.out}/n$1`,
  );
  let mostStall = 0;
  let last = performance.now();
  const beat = setInterval(() => {
    mostStall = Math.max(mostStall, performance.now() - last - 1);
    last = performance.now();
  }, 1);
  for (let at = 1; at <= 200; at += 1) ground.runner.observe(granted(grant(`g${at}`, [script, '{grant}'])));
  const told = performance.now() - last;
  await waitFor(() => readdirSync(ground.out).filter((name) => name.startsWith('n')).length === 200, {
    what: '200 runs',
    deadlineMs: 60_000,
  });
  clearInterval(beat);
  const beside = readdirSync(ground.out)
    .filter((name) => name.startsWith('n'))
    .map((name) => Number(ground.read(name)));
  assert.ok(Math.max(...beside) <= 4, `${Math.max(...beside)} at once`);
  assert.deepEqual(ground.warnings, []);
  assert.ok(told < 50, `telling 200 took ${told} ms`);
  context.diagnostic(`telling: ${told.toFixed(1)} ms; the event loop stalled for at most ${mostStall.toFixed(1)} ms`);
});

test('a flood beyond what can be kept up with is left out, with one line that counts it', async (context) => {
  const ground = await Ground.make(context, 300);
  const script = ground.script('hang', 'sleep 1000');
  for (let at = 1; at <= 5000; at += 1) ground.runner.observe(granted(grant(`g${at}`, [script])));
  const leftOut = () => ground.warnings.filter(({ message }) => message === 'hooks left out');
  assert.equal(leftOut().length, 1);
  await ground.runner.stop();
  const sum = leftOut().reduce((total, { fields }) => total + Number(fields['count']), 0);
  assert.ok(sum >= 4990 && sum <= 5000, `${sum} left out`);
});

test('when the daemon stops nothing new is started, and what runs is given a second', async (context) => {
  const ground = await Ground.make(context);
  const quick = ground.script('quick', `sleep 0.2; touch ${ground.out}/quick`);
  const slow = ground.script('slow', `echo $$ > ${ground.out}/.$$; mv ${ground.out}/.$$ ${ground.out}/slow; sleep 1000`);
  const never = ground.script('never', `touch ${ground.out}/never`);
  const programs = [quick, slow, slow, slow, never];
  for (const [at, program] of programs.entries()) ground.runner.observe(granted(grant(`g${at}`, [program])));
  const pid = Number(
    await waitFor(() => existsSync(join(ground.out, 'slow')) && Number(ground.read('slow')) > 1 && ground.read('slow'), { what: 'slow' }),
  );
  const began = performance.now();
  await ground.runner.stop();
  assert.ok(performance.now() - began < 3000);
  assert.equal(isAlive(pid), false);
  assert.equal(existsSync(join(ground.out, 'quick')), true);
  ground.runner.observe(granted(grant('g9', [never])));
  assert.equal(existsSync(join(ground.out, 'never')), false);
});
