// Tab completion of both commands in the real bash, zsh and fish: a person types a part and presses Tab. And the words themselves, in a table.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import { Terminal } from '../lab/terminal.ts';

const DIST = fileURLToPath(new URL('../../', import.meta.url));
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKnSBRHr3GtcNrWAhV5vD5rgbclmnDVS5qOBwSpKFl5j';

let home: string;
let env: Readonly<Record<string, string>>;

before(() => {
  home = scratchFolder('completion');
  mkdirSync(join(home, 'bin'));
  mkdirSync(join(home, 'rules.d'));
  mkdirSync(join(home, '.ssh'));
  mkdirSync(join(home, '.config/knock'), { recursive: true });
  for (const [name, file] of [
    ['knock', 'client/knock.cjs'],
    ['posternd', 'daemon/main.js'],
  ] as const)
    writeFileSync(join(home, 'bin', name), `#!/bin/sh\nexec ${process.execPath} ${join(DIST, file)} "$@"\n`, { mode: 0o755 });
  writeFileSync(
    join(home, '.config/knock/config.yaml'),
    'profiles:\n  webserver: { host: 192.0.2.1, services: [warehouse] }\n  mail: {}\n  office: { offers: { admin-panel: { ports: [tcp/8443] }, tcp/5432: { ports: [tcp/5432] } } }\n',
  );
  writeFileSync(
    join(home, '.ssh/known_hosts'),
    `lonely.example.org,2001:db8::7 ${KEY}\n[backup.example.org]:2222 ${KEY}\n|1|aGFzaGVk|aGFzaGVk ${KEY}\n$(touch${'$'}{IFS}pwned) ${KEY}\n`,
  );
  writeFileSync(join(home, '.ssh/config'), 'Host bastion *.internal\n  HostName 192.0.2.9\n');
  writeFileSync(
    join(home, 'postern.yaml'),
    `server_key: host_ed25519\nprotect: [ssh, tcp/8443]\nservices: { admin-panel: tcp/8443, vault: tcp/8200 }\nrules: rules.d\nstate: state\ncontrol: control.sock\n`,
  );
  writeFileSync(join(home, 'rules.d/team.yaml'), `clients:\n  - { name: alice, key: ${KEY} }\nallow:\n  - services: [ssh]\n`);
  env = {
    HOME: home,
    PATH: `${join(home, 'bin')}:${process.env['PATH'] ?? ''}`,
    POSTERN_CONFIG: join(home, 'postern.yaml'),
    XDG_CONFIG_HOME: '',
    ZDOTDIR: home,
    PS1: '> ',
  };
});
after(() => removeScratch(home));

/** What fish's form of the question gives: a word and what it is, a line each. */
async function ask(...words: readonly string[]): Promise<readonly string[]> {
  const [program = ''] = words;
  const { stdout } = await run([join(home, 'bin', program), '__complete', 'fish', ...words], { env });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t', 1)[0] ?? '');
}

const TABLE: readonly { readonly line: readonly string[]; readonly words: readonly string[] }[] = [
  { line: ['knock', 'clo'], words: ['close'] },
  { line: ['knock', 'web'], words: ['webserver'] },
  { line: ['knock', 'lon'], words: ['lonely.example.org'] },
  { line: ['knock', 'back'], words: ['backup.example.org'] },
  { line: ['knock', 'bast'], words: ['bastion'] },
  { line: ['knock', '2001:'], words: ['2001:db8::7'] },
  { line: ['knock', '$(touch'], words: [] },
  { line: ['knock', 'close', 'ma'], words: ['mail'] },
  { line: ['knock', 'webserver', 'ware'], words: ['warehouse'] },
  { line: ['knock', 'webserver', 'ssh', 'ss'], words: [] },
  { line: ['knock', 'webserver', 'imap'], words: ['imap', 'imaps'] },
  { line: ['knock', '--retr'], words: ['--retries'] },
  { line: ['knock', 'webserver', '--onc'], words: ['--once'] },
  { line: ['knock', '--once', 'webserver', '--onc'], words: [] },
  { line: ['knock', '--source', 'n'], words: ['none'] },
  { line: ['knock', '--source=n'], words: ['--source=none'] },
  { line: ['knock', '-i', ''], words: [':files'] },
  { line: ['knock', 'keygen', '-f', 'x'], words: [':files'] },
  { line: ['knock', 'mail', '--', ''], words: [':commands'] },
  { line: ['knock', 'mail', '--', 'ssh', ''], words: [':files'] },
  { line: ['knock', 'completion', ''], words: ['bash', 'zsh', 'fish'] },
  { line: ['posternd', 'sta'], words: ['status'] },
  { line: ['posternd', 'gate', ''], words: ['up', 'down', 'show'] },
  { line: ['posternd', '-c', ''], words: [':files'] },
  { line: ['posternd', 'grant', 'ali'], words: ['alice'] },
  { line: ['posternd', 'grant', 'alice', 'adm'], words: ['admin-panel'] },
  { line: ['posternd', 'grant', 'alice', 'vau'], words: [] },
  { line: ['posternd', 'client', 'add', 'bob', '--services', 'adm'], words: ['admin-panel'] },
  { line: ['posternd', 'client', 'add', 'bob', '--services', 'ssh,adm'], words: ['ssh,admin-panel'] },
  { line: ['knock', 'office', ''], words: ['admin-panel', 'tcp/5432'] },
  { line: ['knock', 'office', 'admin-panel', ''], words: ['tcp/5432'] },
  { line: ['posternd', 'grant', 'alice', 'tcp/'], words: ['tcp/22', 'tcp/8443'] },
  { line: ['posternd', 'log', 'verify', ''], words: [':files'] },
  { line: ['posternd', 'check', '--js'], words: ['--json'] },
  { line: ['posternd', '-c', '/nonexistent', 'grant', 'ali'], words: [] },
];

describe('completion', () => {
  for (const { line, words } of TABLE) {
    it(`offers ${words.join(' ') || 'nothing'} for "${line.join(' ')}"`, async () => assert.deepEqual(await ask(...line), words));
  }

  it('reads the line as bash does: quotes, backslashes, and the word breaks of an address', async () => {
    const answer = async (line: string, breaks = ' \t\n"\'><=;|&(:') =>
      (await run([join(home, 'bin/knock'), '__complete', 'bash', line, breaks], { env })).stdout.trim();
    assert.equal(await answer('knock "web'), 'webserver');
    assert.equal(await answer('knock we\\b'), 'webserver');
    assert.equal(await answer('knock 2001:db8:'), ':7');
    assert.equal(await answer('knock 2001:db8:', ' '), '2001:db8::7');
    assert.equal(await answer('knock --source=n'), 'none');
  });

  const shells: readonly { readonly name: string; readonly argv: readonly string[]; readonly load: (program: string) => string }[] = [
    { name: 'bash', argv: ['bash', '--norc', '--noprofile', '-i'], load: (program) => `source <(${program} completion bash)` },
    {
      name: 'zsh',
      argv: ['zsh', '-f', '-i'],
      load: (program) => `autoload -Uz compinit; compinit -u -D; source <(${program} completion zsh)`,
    },
    { name: 'fish', argv: ['fish', '--private'], load: (program) => `${program} completion fish | source` },
  ];
  for (const { name, argv, load } of shells) {
    describe(`in ${name}`, () => {
      let terminal: Terminal;
      before(async () => {
        terminal = await Terminal.open(argv, { env });
        await terminal.shows(/[%$#>] ?$/m);
      });
      after(() => terminal.close());

      const typed = async (text: string, shown: RegExp) => {
        await terminal.press('C-u');
        await terminal.type(text);
        await terminal.press('Tab');
        await terminal.shows(shown);
      };

      it('completes hosts, services and commands of knock', async () => {
        await terminal.type(load('knock'));
        await terminal.press('Enter');
        await typed('knock webs', /knock webserver\b/);
        await typed('knock webserver ware', /knock webserver warehouse/);
        await typed('knock 2001:', /knock 2001(\\?:)db8(\\?:){2}7/);
        await typed('knock --retr', /knock --retries/);
      });

      it('completes clients and commands of posternd', async () => {
        await terminal.press('C-u');
        await terminal.type(load('posternd'));
        await terminal.press('Enter');
        await typed('posternd rel', /posternd reload/);
        await typed('posternd grant ali', /posternd grant alice/);
      });

      it('leaves files to the shell', async () => {
        writeFileSync(join(home, 'unmistakable-file'), '');
        await terminal.press('C-u');
        await terminal.type(`cd ${home}`);
        await terminal.press('Enter');
        await typed('knock -i unmist', /knock -i unmistakable-file/);
      });
    });
  }
});
