// `posternd status --watch` as a person sees it, in a terminal (tmux): it lives, it follows the window, and it always gives the terminal back.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { run } from '../lab/process.ts';
import { Stage } from '../lab/stage.ts';
import { Terminal } from '../lab/terminal.ts';

const skip = labMissing() ?? false;

describe('posternd status --watch', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  const open: Terminal[] = [];
  before(async () => {
    stage = await Stage.create({ label: 'watch' });
  });
  beforeEach(() => stage.ensureRunning());
  after(async () => {
    for (const terminal of open) terminal.close();
    await stage?.close();
  });

  /** A shell that shows a word, runs the command, and shows its exit code. */
  const watch = async (env: Readonly<Record<string, string>> = {}): Promise<Terminal> => {
    const command = stage.postern.command(['status', '--watch']).join(' ');
    const terminal = await Terminal.open(['bash', '--norc', '-c', `echo first; ${command}; echo "code $?"; exec cat`], {
      columns: 100,
      rows: 24,
      env,
    });
    open.push(terminal);
    await terminal.shows(/q quit/);
    return terminal;
  };

  test('shows who is in, counting down; what was refused; and follows the window', async () => {
    const terminal = await watch();
    await stage.knock(stage.server.ipv4(), '-t', '40s');
    const screen = await terminal.shows(/^g\d+ +alice +\S+ +tcp\/8022 +3\ds$/m);
    assert.doesNotMatch(screen, /first/);
    assert.match(screen, /granted +alice from \S+ to tcp\/8022: for 40s/);
    await terminal.shows(/alice .* 3[0-6]s$/m);
    await terminal.resize(60, 12);
    const small = await terminal.shows(/^ posternd .*\n(.*\n){10}q quit/);
    for (const line of small.split('\n')) assert.ok(line.length <= 60, line);
    await terminal.press('q');
    assert.match(await terminal.shows(/code 0/), /first/);
  });

  test('a daemon that is restarted is waited for', async () => {
    const terminal = await watch();
    await stage.postern.stop();
    await terminal.shows(/posternd is not running [^"]*start\s+it\s+with\s+"systemctl\s+start\s+posternd"/);
    await stage.postern.start();
    await terminal.shows(/gate +up/);
    await terminal.press('q');
    await terminal.shows(/code 0/);
  });

  const ends: readonly (readonly [string, (terminal: Terminal, pid: string) => Promise<unknown>, number])[] = [
    ['Ctrl-C', (terminal) => terminal.press('C-c'), 130],
    ['SIGTERM', (_, pid) => run(['kill', '-TERM', pid]), 143],
    ['SIGHUP', (_, pid) => run(['kill', '-HUP', pid]), 129],
  ];
  for (const [text, end, code] of ends) {
    test(`${text} gives the terminal back: the old screen, the cursor, and letters that are shown as they are typed`, async () => {
      const terminal = await watch();
      const { stdout } = await run(['pgrep', '-n', '-f', `status -c ${stage.postern.configFile} --watch`]);
      await end(terminal, stdout.trim());
      assert.match(await terminal.shows(new RegExp(`code ${code}`)), /first/);
      await terminal.type('typed');
      await terminal.shows(/typed/);
      assert.equal(await terminal.format('#{cursor_flag} #{alternate_on}'), '1 0');
    });
  }

  test('a crash gives the terminal back too, and its message can be read', async () => {
    const crash = 'data:text/javascript,setTimeout(()=>{throw%20new%20Error(`crashed`)},4000)';
    const terminal = await watch({ NODE_OPTIONS: `--import=${crash}` });
    assert.match(await terminal.shows(/code 1$/m), /first[\s\S]*Error: crashed/);
    assert.equal(await terminal.format('#{cursor_flag} #{alternate_on}'), '1 0');
  });

  test('with NO_COLOR nothing is colored', async () => {
    await stage.postern.posternd(['gate', 'down']);
    const colored = await watch();
    await colored.shows(/DOWN/);
    assert.match(await colored.colors(), /\x1b\[1m\x1b\[31mgate +DOWN|\x1b\[[0-9;]*31[0-9;]*mgate +DOWN/);
    const plain = await watch({ NO_COLOR: '1' });
    await plain.shows(/DOWN/);
    assert.doesNotMatch(await plain.colors(), /\x1b\[[0-9;]*3[0-8]m/);
    await stage.postern.posternd(['gate', 'up']);
  });

  test('without a terminal, or with --json, it is one line and 2', async () => {
    for (const [args, message] of [
      [['status', '--watch'], /--watch needs a terminal: "posternd status" prints the same once/],
      [['status', '--watch', '--json'], /--watch and --json do not go together/],
    ] as const) {
      const { code, stdout, stderr } = await stage.postern.posternd(args, { mayFail: true });
      assert.equal(code, 2);
      assert.equal(stdout, '');
      assert.match(stderr, message);
      assert.equal(stderr.trim().split('\n').length, 1);
    }
  });
});
