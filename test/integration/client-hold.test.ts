// `knock hold` with the real posternd: a door that stays open far beyond a grant, and what happens to the network meanwhile.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { labMissing } from '../lab/lab.ts';
import type { Running } from '../lab/process.ts';
import { PORT, REQUEST, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { KNOCK } from './client-doorway.ts';

const skip = labMissing() ?? false;

type Event = { readonly event: string; readonly at: string; readonly [field: string]: unknown };

describe('knock hold', { skip, timeout: 300_000 }, () => {
  let stage: Stage;
  const running: Running[] = [];
  before(async () => {
    // Grants of four seconds at most, whatever is asked for.
    stage = await Stage.create({ label: 'hold', allow: [{ services: [REQUEST, `udp/${UDP_PORT}`], ttl: '4s', max_ttl: '4s' }] });
  });
  after(() => stage?.close());
  afterEach(async () => {
    for (const each of running.splice(0)) await each.stop();
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
  });

  function hold(...args: readonly string[]): Running {
    const started = stage.client.start([process.execPath, KNOCK, 'hold', 'server4', ...args], {
      env: { HOME: stage.alice.home, NO_COLOR: '1' },
    });
    running.push(started);
    return started;
  }

  function events(held: Running): readonly Event[] {
    return held.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Event);
  }

  const saw = (held: Running, name: string, count = 1) =>
    waitFor(() => events(held).filter(({ event }) => event === name).length >= count, {
      deadlineMs: 30_000,
      what: `${count} times "${name}" in:\n${held.stdout}${held.stderr}`,
    });

  test('keeps the door open over many grants, and shuts it on Ctrl-C', async () => {
    const held = hold(REQUEST, '-t', '4s', '--json');
    await saw(held, 'open');
    const doors = new Set<string>();
    // A connection every 50 ms: more would fill the service's own queue, and a SYN that is dropped there looks like a shut door.
    for (const endMs = performance.now() + 12_000; performance.now() < endMs; await delay(50))
      doors.add((await stage.client.connect(stage.server.ipv4(), PORT, { timeoutMs: 900 })).outcome);
    assert.deepEqual([...doors], ['open'], held.stdout);
    held.kill('SIGINT');
    assert.deepEqual([(await held.exited).code, held.stderr], [0, '']);
    assert.equal(events(held).at(-1)?.event, 'closed');
    assert.equal(await stage.door(stage.server.ipv4()), 'timeout');
    const names = new Set(events(held).map(({ event }) => event));
    assert.deepEqual([...names].sort(), ['closed', 'open', 'renewed']);
  });

  test('finds out that the rule gives less than was asked, and knocks more often from then on', async () => {
    const held = hold(REQUEST, '-t', '15s', '--json');
    await saw(held, 'gap');
    const [gap] = events(held).filter(({ event }) => event === 'gap');
    assert.deepEqual([gap?.['shortened'], gap?.['everyMs']], [true, 2500]);
    await saw(held, 'renewed', 2);
    assert.equal(await stage.door(stage.server.ipv4()), 'open');
  });

  test('plain lines: one when it opens, one when it ends; SIGTERM and --leave-open', async () => {
    const held = hold(REQUEST, '-t', '4s', '--leave-open');
    await held.waitForOutput(/open after/);
    held.kill('SIGTERM');
    assert.equal((await held.exited).code, 0);
    assert.match(held.stdout, /^open after \d+(\.\d)? ms; knocking again every 1 s\nleft open: it closes when the grant runs out\n$/);
    assert.equal(await stage.door(stage.server.ipv4()), 'open');
  });

  test('counts down on a terminal; Ctrl-C there closes', async () => {
    // Without "exec" the user's shell may stay above it, and it would die of the Ctrl-C first.
    const line = ['exec', process.execPath, KNOCK, 'hold', 'server4', REQUEST, '-t', '6s'].join(' ');
    const held = stage.client.start(['script', '-qefc', line, '/dev/null'], { env: { HOME: stage.alice.home, TERM: 'xterm' } });
    running.push(held);
    await held.waitForOutput(/open on server4 · next knock in 2 s · since \d s · Ctrl-C ends it/);
    await held.waitForOutput(/next knock in 1 s/);
    held.child.stdin?.write('\x03');
    assert.equal((await held.exited).code, 0);
    assert.match(held.stdout, /\r\x1b\[Kclosed\r\n$/);
  });

  test('knocks from the new address when this machine’s changes', async () => {
    const held = hold(REQUEST, '-t', '4s', '--json');
    await saw(held, 'open');
    const { name, ipv4 } = stage.client.interfaces[0] ?? { name: '', ipv4: '' };
    const other = ipv4.replace(/\d+$/, '200');
    await stage.client.exec(['ip', 'address', 'add', `${other}/24`, 'dev', name]);
    await stage.client.exec(['ip', 'address', 'del', `${ipv4}/24`, 'dev', name]);
    try {
      // The kernel makes a secondary address the primary one, or not, as it is set up.
      await stage.client.exec(['ip', 'address', 'replace', `${other}/24`, 'dev', name]);
      await saw(held, 'moved');
      const [moved] = events(held).filter(({ event }) => event === 'moved');
      assert.equal(moved?.['from'], ipv4);
      await waitFor(async () => (await stage.postern.status()).grants.some(({ address }) => address === other), { what: 'a grant for it' });
      assert.equal((await stage.client.connect(stage.server.ipv4(), PORT, { timeoutMs: 500 })).outcome, 'open');
    } finally {
      // In this order: with a primary address its secondary ones go too.
      for (const old of [other, ipv4]) await stage.client.exec(['ip', 'address', 'del', `${old}/24`, 'dev', name], { mayFail: true });
      await stage.client.exec(['ip', 'address', 'add', `${ipv4}/24`, 'dev', name]);
    }
  });

  test('says when the network is gone, tries on, and says when it is back', async () => {
    const held = hold(REQUEST, '-t', '4s', '--json');
    await saw(held, 'open');
    const { name } = stage.client.interfaces[0] ?? { name: '' };
    await stage.client.exec(['ip', 'link', 'set', name, 'down']);
    await saw(held, 'lost');
    assert.match(String(events(held).find(({ event }) => event === 'lost')?.['message']), /^no route to/);
    await stage.client.exec(['ip', 'link', 'set', name, 'up']);
    await saw(held, 'back');
    assert.equal(await stage.door(stage.server.ipv4()), 'open');
    await stage.client.exec(['ip', 'address', 'replace', `${stage.client.ipv6()}/64`, 'dev', name, 'nodad']);
  });

  test('after a sleep it knocks at once', async () => {
    const held = hold(REQUEST, '-t', '4s', '--json');
    await saw(held, 'open');
    held.kill('SIGSTOP');
    // Longer than what may still be a correction of the clock; the grant runs out meanwhile.
    await delay(8000);
    assert.equal(await stage.door(stage.server.ipv4()), 'timeout');
    held.kill('SIGCONT');
    await saw(held, 'slept');
    await waitFor(async () => (await stage.door(stage.server.ipv4())) === 'open', { what: 'the door to open again' });
  });

  test('outlives a daemon that is restarted', async () => {
    const held = hold(REQUEST, '-t', '4s', '--json');
    await saw(held, 'open');
    await stage.postern.stop();
    await saw(held, 'lost');
    await stage.postern.start();
    await saw(held, 'back');
    assert.equal(await stage.door(stage.server.ipv4()), 'open');
  });

  test('a UDP service is not looked at, and stays granted', async () => {
    const held = hold(`udp/${UDP_PORT}`, '-t', '4s', '--json');
    await saw(held, 'sent');
    await saw(held, 'renewed', 4);
    const echo = await stage.client.sendUdp(stage.server.ipv4(), UDP_PORT, [Buffer.from('x')], { wanted: 1, waitMs: 500 });
    assert.equal(echo.replies.length, 1);
    held.kill('SIGINT');
    assert.equal((await held.exited).code, 0);
    await stage.waitForGrants(0);
  });

  test('a door that does not open is an error at once', async () => {
    const held = hold('tcp/8023', '--timeout', '1s');
    assert.equal((await held.exited).code, 1);
    assert.match(held.stderr, /^knock: tcp\/8023 on [\d.]+ did not open within 1 s/);
    assert.equal(held.stdout, '');
  });

  test('refuses a lifetime that the slots of a minute cannot hold', async () => {
    const held = hold(REQUEST, '-t', '2s');
    assert.equal((await held.exited).code, 2);
    assert.match(held.stderr, /^knock: a lifetime of 2 s cannot be held with 64 knocks a minute: ask for more with --ttl\n$/);
  });

  test('ends with 130 when it is interrupted before the door opened', async () => {
    const held = hold('tcp/8023', '--timeout', '30s', '-v');
    await held.waitForOutput(/knock 1 sent/);
    held.kill('SIGINT');
    assert.equal((await held.exited).code, 130);
  });
});
