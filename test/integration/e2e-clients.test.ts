// Black box: clients are added, disabled and removed while the daemon runs and doors are open: whose doors shut, and whose do not (P39).
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { secretFromSeed } from '../../protocol/identity.ts';
import { parseInvitation } from '../../protocol/invitation.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import { isNftables } from '../lab/backend.ts';
import { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { REQUEST, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? (isNftables() ? false : 'the rules are the same for every backend');

describe('posternd client, beside a running daemon', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'clients' });
  });
  after(() => stage?.close());
  const client = (...args: readonly string[]) => stage.postern.posternd(['client', ...args], { mayFail: true });
  const home = (): string => stage.client.addresses()[0] ?? '';
  const server = (): string => stage.server.addresses()[0] ?? '';
  const grantsOf = async (name: string): Promise<number> =>
    (await stage.postern.status()).grants.filter((grant) => grant.client === name).length;
  const open = async (person: 'alice' | 'bob'): Promise<void> => {
    await stage[person].knock(['server4', REQUEST, '--no-verify']);
    await waitFor(async () => (await grantsOf(person)) === 1, { what: `a grant of ${person}` });
  };

  test('disable ends the grants of that client only, at once; enable lets it in again', async () => {
    await open('alice');
    await open('bob');
    const { code, stdout, stderr } = await client('disable', 'alice');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^alice is disabled: .*people\.yaml\nposternd has read the rules again: 2 clients\n$/);
    assert.deepEqual([await grantsOf('alice'), await grantsOf('bob')], [0, 1]);
    assert.equal(await stage.door(server()), 'open', 'bob, behind the same address, stays in (P30b)');
    await client('enable', 'alice');
    await open('alice');
    await stage.postern.posternd(['revoke', home()]);
  });

  test('P39: remove ends the grants of that client only, and its old packets stay dead when it is added again', async () => {
    await open('bob');
    const packet = await stage.recordedKnock(server());
    await waitFor(async () => (await grantsOf('alice')) === 1, { what: 'the grant of alice' });
    const rules = readFileSync(stage.postern.rulesFile, 'utf8');
    const { code, stderr } = await client('remove', 'alice');
    assert.equal(code, 0, stderr);
    assert.deepEqual([await grantsOf('alice'), await grantsOf('bob')], [0, 1]);
    const added = await client('add', 'alice', '--key', stage.alice.publicLine, '--slots', '64', '--host', server(), '--json');
    assert.equal(added.code, 0, added.stderr);
    assert.equal((JSON.parse(added.stdout) as { daemon: string }).daemon, 'reloaded');
    assert.deepEqual(JSON.parse(readFileSync(stage.postern.rulesFile, 'utf8')).allow, JSON.parse(rules).allow);
    await stage.replay(stage.client, packet);
    assert.equal(await grantsOf('alice'), 0, 'the replay opened nothing');
    await open('alice');
    await stage.postern.posternd(['revoke', home()]);
  });

  test('explain says before what the knock finds, and that the daemon does not know a change yet', async () => {
    const explain = () => stage.postern.posternd(['explain', 'alice', REQUEST, '--from', home()], { mayFail: true });
    assert.match((await explain()).stdout, new RegExp(`^yes: alice may open ${REQUEST} for 30s, from ${home()}`));
    await open('alice');
    await stage.postern.posternd(['revoke', home()]);
    await client('disable', 'alice');
    const before = (await stage.postern.status()).knocks.dropped['client-disabled'] ?? 0;
    const said = await explain();
    assert.deepEqual([said.code, said.stderr], [1, 'posternd: such a knock is refused (client-disabled)\n']);
    await stage.alice.knock(['server4', REQUEST, '--no-verify']);
    await waitFor(async () => ((await stage.postern.status()).knocks.dropped['client-disabled'] ?? 0) > before, {
      what: 'the same refusal',
    });
    const rules = readFileSync(stage.postern.rulesFile, 'utf8');
    writeFileSync(stage.postern.rulesFile, rules.replace('"enabled": false', '"enabled": true').replace('enabled: false', 'enabled: true'));
    assert.match(
      (await explain()).stdout,
      /^note: the running posternd has read the rules before they were changed: run "posternd reload"$/m,
    );
    await client('disable', 'alice');
    await client('enable', 'alice');
    assert.doesNotMatch((await explain()).stdout, /note:/);
  });

  test('rules that are written and that the daemon refuses: exit 1, and it says that the old ones hold', async () => {
    const config = readFileSync(stage.postern.configFile, 'utf8');
    const people = readFileSync(stage.postern.rulesFile, 'utf8');
    // The command reads the configuration when it starts; the daemon reads it again, and a name that it does not have is wrong for it.
    const other = `${stage.postern.configFile}.other`;
    writeFileSync(other, config, { mode: 0o644 });
    writeFileSync(stage.postern.configFile, 'protekt: []\n');
    const argv = stage.postern.command(['client', 'disable', 'bob']).map((word) => (word === stage.postern.configFile ? other : word));
    const { code, stderr } = await stage.server.exec(argv, { mayFail: true });
    assert.equal(code, 1);
    assert.match(stderr, /^posternd: it is written, but the running posternd goes on with the old rules: .*unknown key "protekt"/m);
    writeFileSync(stage.postern.configFile, config);
    writeFileSync(stage.postern.rulesFile, people);
  });

  test('somebody new, from the invitation line alone: key made there, door open', async () => {
    stage.postern.writeRules(rulesFor([stage.alice, stage.bob]));
    await stage.postern.posternd(['reload']);
    const added = await client('add', 'carol', '--generate', '--host', server(), '--json');
    const read = parseInvitation((JSON.parse(added.stdout) as { invitation: string }).invitation);
    assert.ok(read.ok && read.value.seed !== undefined);
    const carol = await Knocker.create(stage.client, 'carol');
    try {
      writeFileSync(join(carol.home, '.ssh', 'id_ed25519'), formatPrivateKey(secretFromSeed(read.value.seed), 'carol'), { mode: 0o600 });
      const { host, port, serverKey } = read.value;
      const said = await carol.knock([host, '-p', String(port), '--server-key', formatPublicLine(serverKey, ''), REQUEST]);
      assert.match(said.stdout + said.stderr, /open after/);
      assert.equal(await grantsOf('carol'), 1);
    } finally {
      carol.close();
    }
  });
});
