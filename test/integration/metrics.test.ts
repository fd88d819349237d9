// Black box: the metrics of a running posternd, as node_exporter would find them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { METRICS } from '../../daemon/metrics/catalog.ts';
import { labMissing } from '../lab/lab.ts';
import { run } from '../lab/process.ts';
import { FORBIDDEN_PORT, profileOf, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
const noPromtool = spawnSync('promtool', ['--version']).status === 0 ? false : 'promtool (Debian package prometheus) is not installed';

describe('metrics', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  const file = () => join(stage.postern.folder, 'metrics', 'postern.prom');
  const text = () => readFileSync(file(), 'utf8');
  const value = (series: string): number => {
    const line = text()
      .split('\n')
      .find((each) => each.startsWith(`${series} `));
    assert.ok(line !== undefined, `${series} is not in\n${text()}`);
    return Number(line.slice(series.length + 1));
  };

  before(async () => {
    stage = await Stage.create({ label: 'metrics', start: false });
    mkdirSync(dirname(file()));
    const config = JSON.parse(readFileSync(stage.postern.configFile, 'utf8')) as object;
    stage.postern.writeConfig({ ...config, metrics: { textfile: file() } });
    await stage.postern.start();
  });
  after(() => stage?.close());

  test('are there at the start, all of them', async () => {
    await waitFor(() => existsSync(file()));
    for (const { name } of Object.values(METRICS)) assert.match(text(), new RegExp(`^${name}(\\{| |_bucket)`, 'm'));
    assert.equal(value('postern_running'), 1);
    assert.equal(value('postern_gate_up'), 1);
    assert.equal(value('postern_clients'), 2);
    assert.ok(value('postern_tags_armed') >= 128);
    assert.match(text(), /postern_build_info\{version="[^"]+",gate="\w+",capture="nflog"\} 1/);
  });

  test('say at the end what happened', async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '30s');
    await stage.knock(address, '-t', '30s');
    await stage.alice.knock([profileOf(address), `tcp/${FORBIDDEN_PORT}`, '--retries', '0', '--timeout', '1s'], { mayFail: true });
    await stage.client.sendUdp(address, 62201, [new Uint8Array(300).fill(7)]);
    writeFileSync(stage.postern.rulesFile, 'clients: 5\n');
    await stage.postern.posternd(['reload'], { mayFail: true });
    await stage.postern.stop();
    assert.equal(value('postern_running'), 0);
    assert.equal(value('postern_knocks_granted_total'), 2);
    assert.equal(value('postern_knocks_dropped_total{reason="not-allowed"}'), 1);
    assert.equal(value('postern_sieve_packets_total{kind="knock"}'), 3);
    assert.ok(value('postern_sieve_packets_total{kind="junk"}') >= 1);
    assert.equal(value('postern_grants'), 1);
    assert.equal(value('postern_last_reload_successful'), 0);
    assert.equal(value('postern_knock_to_grant_seconds_count'), 2);
    assert.equal(value('postern_knock_to_grant_seconds_bucket{le="+Inf"}'), 2);
    assert.ok(value('postern_knock_to_grant_seconds_sum') > 0);
    assert.deepEqual(readdirSync(dirname(file())), ['postern.prom']);
  });

  test('promtool finds nothing to complain of', { skip: noPromtool }, async () => {
    const { stdout, stderr } = await run(['promtool', 'check', 'metrics'], { stdin: text() });
    assert.equal(stdout + stderr, '');
  });

  test('a folder that cannot be written costs a line in the journal and nothing else', async () => {
    rmSync(dirname(file()), { recursive: true });
    writeFileSync(stage.postern.rulesFile, readFileSync(stage.postern.rulesFile, 'utf8').replace('clients: 5', 'clients: []'));
    await stage.postern.start();
    await stage.postern.daemon.waitForOutput(
      /the metrics cannot be written to .* \(ENOENT\): the folder must be writable by the daemon's user/,
    );
    await stage.postern.stop();
    assert.equal((await stage.postern.daemon.exited).code, 0);
  });
});
