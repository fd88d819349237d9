// A client whose clock is wrong, with the real posternd: --time, and what `knock` says when nobody named a clock.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labMissing } from '../lab/lab.ts';
import { type Running, run, runNow } from '../lab/process.ts';
import { REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const ANSWERER = fileURLToPath(new URL('./client-answerer.js', import.meta.url));
const WEB_SERVER = fileURLToPath(new URL('./client-https-clock.js', import.meta.url));
const SHIFT = `--import=${new URL('./client-shifted-clock.js', import.meta.url).href}`;
const skip = labMissing() ?? false;
const noChrony = runNow(['which', 'chronyd']) === '' && 'chronyd is not here (Debian puts it in the place of systemd-timesyncd)';
// In the middle of what is shown (minutes, or seconds by ten), so that a moment more or less shows the same.
const [BEHIND_MS, AHEAD_MS] = [-(2 * 3_600_000 + 3 * 60_000 + 30_000), 10 * 60_000 + 15_000];

describe('a clock that is wrong', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  let folder: string;
  const running: Running[] = [];
  before(async () => {
    stage = await Stage.create({ label: 'time' });
    folder = join(stage.alice.home, 'time');
    mkdirSync(folder);
    await makeCertificates();
  });
  after(() => stage?.close());
  afterEach(async () => {
    await Promise.all(running.splice(0).map((each) => each.stop()));
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
  });

  const clock = () => stage.stranger.ipv4();
  const knock = (shiftMs: number, args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    stage.alice.knock(['server4', REQUEST, ...args], {
      mayFail: true,
      env: { NODE_OPTIONS: SHIFT, CLOCK_SHIFT_MS: String(shiftMs), ...env },
    });
  async function serve(host: 'server' | 'stranger', argv: readonly string[]): Promise<Running> {
    const server = stage[host].start([process.execPath, ...argv]);
    running.push(server);
    await server.waitForOutput(/ready/);
    return server;
  }
  const sntp = (kind: string) => serve('stranger', [ANSWERER, kind, '123']);
  const https = () => serve('stranger', [WEB_SERVER, '443', join(folder, 'key'), join(folder, 'cert')]);
  const trusted = () => ({ NODE_EXTRA_CA_CERTS: join(folder, 'ca') });
  const noGrant = async () => assert.deepEqual((await stage.postern.status()).grants, []);

  for (const [text, shiftMs, says] of [
    ['hours behind', BEHIND_MS, '2 h 3 min behind'],
    ['ten minutes ahead', AHEAD_MS, '10 min 1\\d s ahead of'],
  ] as const) {
    test(`${text}: in vain without another clock, signed by it with --time sntp: and https:`, async () => {
      assert.equal((await knock(shiftMs, ['--timeout', '1s'])).code, 1);
      await noGrant();
      await sntp('sntp-honest');
      await https();
      for (const [args, source] of [
        [['--time', `sntp:${clock()}`], `sntp:${clock()}:123`],
        [['--time', `https://${clock()}/any`], `https://${clock()}`],
      ] as const) {
        const result = await knock(shiftMs, args, trusted());
        assert.match(result.stdout, /^open after/);
        assert.match(
          result.stderr,
          new RegExp(`^knock: this machine's clock is ${says} ${source}: the knock was signed with the corrected time\n$`),
        );
        await stage.postern.posternd(['revoke', 'alice']);
      }
    });
  }

  test('the profile can name the clock; --time system overrules it; --json tells', async () => {
    await sntp('sntp-honest');
    const config = join(folder, 'config.yaml');
    const text = readFileSync(join(stage.alice.home, '.config', 'knock', 'config.yaml'), 'utf8');
    writeFileSync(config, text.replace('"slots":64', `"slots":64,"time":"sntp:${clock()}"`));
    const report = JSON.parse((await knock(BEHIND_MS, ['--config', config, '--json'])).stdout);
    assert.deepEqual([report.ok, report.clock.source, report.clock.corrected], [true, `sntp:${clock()}:123`, true]);
    assert.ok(Math.abs(report.clock.offsetMs + BEHIND_MS) < 1_000);
    assert.match(
      (await knock(0, ['--config', config, '--dry-run'])).stdout,
      /^signed by +the clock of sntp:10\.77\.1\.3:123 \(asked when it is sent\)$/m,
    );
    await stage.postern.posternd(['revoke', 'alice']);
    assert.equal((await knock(BEHIND_MS, ['--config', config, '--time', 'system', '--timeout', '1s'])).code, 1);
  });

  test('others’ guesses are no answer; the wait goes on', async () => {
    await sntp('sntp-after-guesses');
    assert.match((await knock(BEHIND_MS, ['--time', `sntp:${clock()}`])).stderr, /2 h 3 min behind/);
  });

  describe('a clock that is not to be had: said, and signed by this machine’s, which opens if that one is right', () => {
    const cases = [
      { text: 'silent', kind: 'silent', says: /it did not answer \(timeout\)/ },
      { text: 'not there', says: /it did not answer \(ECONNREFUSED\)/ },
      { text: 'a kiss of death', kind: 'sntp-kiss', says: /it sends us away \(DENY\)/ },
      { text: 'unsynchronized', kind: 'sntp-unsynchronized', says: /it is not synchronized itself/ },
      {
        text: 'a certificate that nobody vouches for',
        https: true,
        says: /https:\/\/10\.77\.1\.3: its certificate cannot be verified \([A-Z_]+\)/,
      },
      {
        text: 'the same, where the environment says to trust everybody',
        https: true,
        env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
        says: /its certificate cannot be verified \([A-Z_]+\)/,
      },
    ] as const;
    for (const { text, says, ...more } of cases) {
      test(text, async () => {
        if ('kind' in more) await sntp(more.kind);
        if ('https' in more) await https();
        const args = ['--time', 'https' in more ? `https://${clock()}` : `sntp:${clock()}`];
        const env = 'env' in more ? more.env : {};
        const right = await knock(0, args, env);
        assert.match(right.stdout, /^open after/);
        assert.match(
          right.stderr,
          new RegExp(`knock: the clock that --time names was not to be had \\(.*${says.source}\\): signed by this machine's own\n`),
        );
        await stage.postern.posternd(['revoke', 'alice']);
        const wrong = await knock(BEHIND_MS, [...args, '--timeout', '4s', '--retries', '1'], env);
        assert.equal(wrong.code, 1);
        assert.match(wrong.stderr, /this machine's clock is off by more than a minute: it says \S+ \(/);
        await noGrant();
      });
    }
  });

  test('nobody is asked on its own: a knock in vain talks to the host alone', async () => {
    const capture = await stage.client.capture({ filter: `ip and not host ${stage.server.ipv4()}`, direction: 'out' });
    const clockPort = await stage.client.capture({ filter: 'port 123', direction: 'out' });
    assert.equal((await knock(BEHIND_MS, ['--timeout', '1s'])).code, 1);
    assert.deepEqual(await clockPort.settle(stage.server.ipv4()), []);
    assert.deepEqual(await capture.settle(stage.stranger.ipv4()), []);
    await Promise.all([capture.close(), clockPort.close()]);
  });

  test('the host’s own web server is compared with, said first, and never signed by', async () => {
    await serve('server', [WEB_SERVER, '80']);
    const result = await knock(BEHIND_MS, ['--timeout', '1s']);
    const [, first = ''] = result.stderr.split('\n');
    assert.match(
      first,
      /^ {2}- this machine's clock is 2 h 3 min behind that of "server4" \(its web server says so, which proves nothing\): set it, or name/,
    );
    const report = JSON.parse((await knock(BEHIND_MS, ['--timeout', '1s', '--json'])).stdout);
    assert.deepEqual([report.clock.source, report.clock.corrected], ['its web server', false]);
    await noGrant();
    const agrees = await knock(0, ['--timeout', '1s', '-p', '62202']);
    assert.match(agrees.stderr, /hardly the clock: this machine's agrees with that of "server4"/);
  });

  test('chronyd, as Debian has it', { skip: noChrony }, async () => {
    const config = join(folder, 'chrony.conf');
    writeFileSync(config, `local stratum 3\nallow\nbindcmdaddress /\ncmdport 0\nport 123\npidfile ${join(folder, 'chrony.pid')}\n`);
    running.push(stage.stranger.start(['chronyd', '-x', '-d', '-f', config, '-u', 'root']));
    await waitFor(
      async () => JSON.parse((await knock(BEHIND_MS, ['--time', `sntp:${clock()}`, '--json', '--timeout', '1s'])).stdout).ok === true,
      {
        what: 'chronyd to answer',
      },
    );
  });

  async function makeCertificates(): Promise<void> {
    const at = (name: string) => join(folder, name);
    const subject = ['-subj', '/CN=clock', '-days', '2', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    await run(['openssl', 'req', '-x509', ...subject, '-keyout', at('ca-key'), '-out', at('ca')]);
    const san = ['-addext', `subjectAltName=IP:${clock()}`, '-addext', 'basicConstraints=critical,CA:FALSE'];
    await run([
      'openssl',
      'req',
      '-x509',
      ...subject,
      '-CA',
      at('ca'),
      '-CAkey',
      at('ca-key'),
      ...san,
      '-keyout',
      at('key'),
      '-out',
      at('cert'),
    ]);
  }
});
