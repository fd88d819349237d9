// The units as files: systemd finds nothing wrong with them, and rates their sandbox. That they really work is tested in test/system/.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../../systemd/', import.meta.url));
const UNITS = readdirSync(FOLDER).filter((name) => name.endsWith('.service'));
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;

function analyze(...args: string[]): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  return { status, output: stdout + stderr };
}

/** All values of a setting, as written. */
function settings(unit: string, name: string): string[] {
  const lines = readFileSync(FOLDER + unit, 'utf8').split('\n');
  return lines.filter((line) => line.startsWith(`${name}=`)).map((line) => line.slice(name.length + 1));
}

describe('systemd units', { skip: hasSystemd ? false : 'systemd-analyze is not installed' }, () => {
  it('are the daemon and the gate', () => assert.deepEqual(UNITS.sort(), ['postern-gate.service', 'posternd.service']));

  it('pass systemd-analyze verify without a word', () => {
    assert.deepEqual(analyze('verify', ...UNITS.map((unit) => FOLDER + unit)), { status: 0, output: '' });
  });

  for (const unit of UNITS) {
    it(`${unit} is exposed less than 2.0 by systemd's measure`, () => {
      const { output } = analyze('security', '--offline=yes', '--no-pager', FOLDER + unit);
      const [, exposure] = /Overall exposure level for \S+: ([\d.]+)/.exec(output) ?? assert.fail(output);
      assert.ok(Number(exposure) < 2, output);
    });

    it(`${unit} has CAP_NET_ADMIN and nothing else, as its own user`, () => {
      assert.deepEqual(settings(unit, 'CapabilityBoundingSet'), ['CAP_NET_ADMIN']);
      assert.deepEqual(settings(unit, 'AmbientCapabilities'), ['CAP_NET_ADMIN']);
      assert.deepEqual(settings(unit, 'User'), ['postern']);
      assert.deepEqual(settings(unit, 'NoNewPrivileges'), ['yes']);
    });

    it(`${unit} opens nothing when it stops`, () => {
      for (const name of ['ExecStop', 'ExecStopPost']) assert.deepEqual(settings(unit, name), []);
    });
  }

  it('closes the gate before the network is up and follows nftables.service', () => {
    assert.match(settings('postern-gate.service', 'Before').join(' '), /\bnetwork-pre\.target\b/);
    assert.match(settings('postern-gate.service', 'After').join(' '), /\bnftables\.service\b/);
    assert.deepEqual(settings('postern-gate.service', 'PartOf'), ['nftables.service']);
    assert.deepEqual(settings('postern-gate.service', 'ReloadPropagatedFrom'), ['nftables.service']);
    assert.deepEqual(settings('postern-gate.service', 'DefaultDependencies'), ['no']);
  });

  it('writes no core dump, which would hold secrets (P38)', () => {
    for (const unit of ['posternd.service', 'postern-gate.service']) assert.deepEqual(settings(unit, 'LimitCORE'), ['0'], unit);
  });

  it('tells systemd when the gate is up, and is restarted when it hangs or dies (P36)', () => {
    assert.deepEqual(settings('posternd.service', 'Type'), ['notify']);
    assert.equal(settings('posternd.service', 'WatchdogSec').length, 1);
    assert.deepEqual(settings('posternd.service', 'Restart'), ['always']);
    assert.deepEqual(settings('posternd.service', 'RuntimeDirectoryPreserve'), ['yes'], 'marks of used knocks outlive a stop (P12)');
  });
});
