// Black box: hooks of a running daemon. They hear of knocks, closes, revocations and ends; none of them holds up a knock.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lacks } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import { scratchFolder } from '../lab/scratch.ts';
import { FAMILIES, PORT, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

describe('hooks', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let folder: string;
  const note = (name: string, body: string): string => {
    const path = join(folder, name);
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const out = () => join(folder, 'out');
  const notes = (): readonly string[] =>
    existsSync(join(out(), 'notes')) ? readFileSync(join(out(), 'notes'), 'utf8').trim().split('\n') : [];
  const hears = (...lines: readonly RegExp[]) =>
    waitFor(
      () => {
        assert.equal(notes().length, lines.length, notes().join('\n'));
        for (const [at, line] of lines.entries()) assert.match(notes()[at] ?? '', line);
        return true;
      },
      { what: lines.join(' ') },
    );
  const forget = () => rmSync(join(out(), 'notes'), { force: true });

  before(async () => {
    folder = scratchFolder('hooks');
    chmodSync(folder, 0o755);
    mkdirSync(out());
    chmodSync(out(), 0o777);
    const told = note('told', `cat /proc/self/status > ${out()}/status; echo "$*" >> ${out()}/notes`);
    const hangs = note('hangs', 'sleep 1000');
    stage = await Stage.create({
      label: 'hooks',
      config: { protect: [REQUEST, 'tcp/8023', 'tcp/9000-9001'], services: { panel: 'tcp/8023', pool: 'tcp/9000-9001' } },
      allow: [
        {
          services: [REQUEST],
          ttl: '30s',
          max_ttl: '1m',
          on_open: [told, 'open {event}', '{client}', '{address}', '{service}', '{port}', '{lifetime}'],
          on_close: [told, 'close {event}', '{client}', '{address}', '{ports}'],
        },
        {
          services: ['panel'],
          ttl: '2s',
          once: lacks('one-shots') === false,
          sessions: 'end',
          default: false,
          on_close: [told, '{event}', '{service}'],
        },
        { services: ['pool'], default: false, on_open: [hangs], on_close: ['/bin/false'] },
      ],
    });
    await stage.server.listen({ tcp: [9000] });
  });
  after(async () => {
    await stage?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`are told once of a knock, of its repetition not, and of the close, over ${family}`, async () => {
      forget();
      const home = stage.client.addresses()[at];
      await stage.knock(address());
      await hears(new RegExp(`^open open alice ${home} tcp/${PORT} ${PORT} 30s$`));
      await stage.knock(address(), '-t', '40s');
      await stage.alice.knock(['close', profileOf(address()), REQUEST]);
      await hears(/^open /, new RegExp(`^close closed alice ${home} tcp/${PORT}$`));
    });

    test(`are told of a revocation, over ${family}`, async () => {
      forget();
      await stage.knock(address());
      await hears(/^open /);
      await stage.postern.posternd(['revoke', 'alice']);
      await hears(/^open /, /^close revoked alice /);
    });

    test(`are told when the time of a grant is over, also of a one-shot that was used, over ${family}`, async () => {
      forget();
      await stage.alice.knock([profileOf(address()), 'panel']);
      await waitFor(async () => (await stage.door(address(), stage.client, 8023)) === 'open', { what: 'the panel to open' });
      assert.deepEqual(notes(), []);
      await hears(/^ended panel$/);
    });
  }

  test('have no capability, are not root, and can never become it', async () => {
    forget();
    await stage.knock(stage.server.ipv4());
    await hears(/^open /);
    const status = readFileSync(join(out(), 'status'), 'utf8');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) assert.match(status, new RegExp(`^${set}:\\s+0+$`, 'm'), set);
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    assert.doesNotMatch(status, /^Uid:\s+0\b/m);
    await stage.postern.posternd(['revoke', 'alice']);
    // Heard out to the end, so that nothing of this comes into the next test.
    await hears(/^open /, /^close revoked /);
  });

  test('are not told when the daemon stops, but when a grant of before ends after the restart', async () => {
    forget();
    await stage.knock(stage.server.ipv4());
    await hears(/^open /);
    await stage.postern.stop();
    await stage.postern.start();
    await stage.knock(stage.server.ipv4());
    assert.equal(notes().length, 1);
    await stage.postern.posternd(['revoke', 'alice']);
    await hears(/^open /, /^close revoked/);
  });

  test('are told of a grant that ended while no daemon ran', async () => {
    forget();
    await stage.knock(stage.server.ipv4(), '-t', '2s');
    await hears(/^open /);
    await stage.postern.killHard();
    await stage.waitForGrants(0);
    assert.equal(notes().length, 1);
    await stage.postern.start();
    await hears(/^open /, /^close ended alice /);
  });

  test('that hang or fail hold up nobody: knocks open as before', async () => {
    const address = stage.server.ipv4();
    for (const person of [stage.alice, stage.bob]) {
      await person.knock([profileOf(address), 'pool']);
      // The client cannot see a service of which only the server knows the port.
      await waitFor(async () => (await stage.door(address, stage.client, 9000)) === 'open', { what: 'the pool to open' });
      await stage.postern.posternd(['revoke', person.name]);
    }
    await waitFor(() => /"msg":"hook failed"/.test(stage.postern.daemon.stdout), { what: 'the line of /bin/false' });
    const said = await stage.knock(address);
    assert.match(said, /open after/);
    assert.equal(stage.postern.daemon.ended, false);
  });

  test('that others could write by now are refused on reload, and the old rules stay', async () => {
    chmodSync(join(folder, 'told'), 0o777);
    const { code, stderr } = await stage.postern.posternd(['reload'], { mayFail: true });
    assert.equal(code, 2);
    assert.match(stderr, /people\.yaml:\d+:\d+: others can write .*told \(mode 0777\): run: chmod go-w/);
    forget();
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
    assert.match(await stage.knock(stage.server.ipv4()), /open after/);
    await waitFor(() => /not run: others can write/.test(stage.postern.daemon.stdout), { what: 'the refusal to run it' });
    assert.deepEqual(notes(), []);
    chmodSync(join(folder, 'told'), 0o755);
  });
});
