// What root does in the daemon's own folders: nothing that the daemon's user laid there is followed, and that user can read what root leaves.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { keepLastGood } from '../../daemon/config/last-good.ts';
import { loadConfig } from '../../daemon/config/load.ts';
import { replacing } from '../../daemon/firewall/replacing.ts';
import { createFresh, replaceFile } from '../../daemon/fresh-file.ts';
import { GrantJournal } from '../../daemon/grants/grant-journal.ts';
import { writeNote } from '../../daemon/trial-note.ts';
import { MemoryFirewall } from '../fakes/memory-firewall.ts';

/** nobody stands for the daemon's user. */
const DAEMON = 65_534;
const skip = process.geteuid?.() === 0 ? false : 'needs root';

/** A folder of the daemon's user, and a file of root's that must stay as it is. */
function ground(context: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-fresh-'));
  context.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const own = join(folder, 'own');
  const victim = join(folder, 'victim');
  mkdirSync(own);
  chownSync(own, DAEMON, DAEMON);
  writeFileSync(victim, 'root:x:0:0\n', { mode: 0o644 });
  const config = join(folder, 'postern.yaml');
  writeFileSync(config, 'server_key: k\nprotect: [ssh]\nstate: own\ncontrol: own/control.sock\n', { mode: 0o644 });
  return { own, victim, config, link: (name: string) => symlinkSync(victim, join(own, name)) };
}

const NOTE = { boot: 'b', beganBootMs: 0, endsBootMs: 1, connection: null, stopped: false };
const SUBJECTS: readonly (readonly [name: string, write: (own: string, config: string) => unknown])[] = [
  ['grants.jsonl', (own) => new GrantJournal(own, 'boot', { grants: [], closes: [] }, assert.fail).end()],
  ['grants.jsonl.new', (own) => new GrantJournal(own, 'boot', { grants: [], closes: [] }, assert.fail).end()],
  ['trial.json', (own) => writeNote(own, NOTE)],
  ['trial.log', (own) => createFresh(join(own, 'trial.log'))],
  [
    'firewall-backend',
    async (own) => {
      const firewall = new MemoryFirewall().firewall();
      const kept = replacing(firewall, { backend: 'nftables', runtimeFolder: own, table: 'postern', onTrouble: assert.fail });
      const layout = { protect: [] } as unknown as Parameters<typeof firewall.install>[0];
      await kept.install(layout, []);
    },
  ],
  [
    'last-good-config.json',
    async (_own, config) => {
      const loaded = await loadConfig(config);
      assert.ok(loaded.config);
      assert.equal(await keepLastGood(loaded.config), undefined);
    },
  ],
];

for (const [name, write] of SUBJECTS) {
  test(`root follows no link that the daemon's user laid at ${name}, and leaves that user a file of its own`, { skip }, async (context) => {
    const { own, victim, config, link } = ground(context);
    link(name);
    await write(own, config);
    assert.equal(readFileSync(victim, 'utf8'), 'root:x:0:0\n');
    assert.equal(lstatSync(victim).uid, 0);
    const left = readdirSync(own).map((entry) => [entry, lstatSync(join(own, entry)).isFile(), lstatSync(join(own, entry)).uid]);
    assert.deepEqual(left, [[name.replace(/\.new$/, ''), true, DAEMON]]);
  });
}

test("what root's gate up keeps of a good configuration, the boot unit's own user can read at the next boot", {
  skip,
}, async (context) => {
  const { own, config } = ground(context);
  const loaded = await loadConfig(config);
  assert.ok(loaded.config);
  await keepLastGood(loaded.config);
  const text = execFileSync('cat', [join(own, 'last-good-config.json')], { uid: DAEMON, encoding: 'utf8' });
  assert.match(text, /protect/);
});

test('a configuration that is kept already is not written again: the boot unit, which cannot, has nothing to complain of', async (context) => {
  const { own, config } = ground(context);
  chownSync(own, process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
  const keep = async () => {
    const loaded = await loadConfig(config);
    assert.ok(loaded.config);
    assert.equal(await keepLastGood(loaded.config), undefined);
    return lstatSync(join(own, 'last-good-config.json')).ino;
  };
  const first = await keep();
  assert.equal(await keep(), first);
  writeFileSync(config, `${readFileSync(config, 'utf8')}port: 62202\n`);
  assert.notEqual(await keep(), first);
});

test('a file that cannot be replaced is left as it was, and nothing beside it', (context) => {
  const { own } = ground(context);
  const path = join(own, 'note');
  replaceFile(path, 'old');
  rmSync(path);
  mkdirSync(path);
  assert.throws(() => replaceFile(path, 'new'), { code: 'EISDIR' });
  assert.deepEqual(readdirSync(own), ['note']);
});
