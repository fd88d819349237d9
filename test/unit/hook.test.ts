// Hooks as rules name them: what placeholders become, and which programs are refused when the rules are loaded, each at its place.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fillHook, type HookFacts, PLACEHOLDERS } from '../../daemon/hooks/hook.ts';
import { judgeProgram } from '../../daemon/hooks/trusted-program.ts';
import type { PortRange } from '../../protocol/ports.ts';
import { line, load } from './rules-ground.ts';

const range = (protocol: 'tcp' | 'udp', first: number, last = first): PortRange => ({ protocol, first, last });
const FACTS: HookFacts = {
  event: 'open',
  grant: 'g17',
  client: 'alice',
  address: '2001:db8::7',
  service: 'vpn',
  ports: [range('udp', 51820), range('tcp', 9000, 9010)],
  lifetimeSeconds: 90,
};

describe('an argument of a hook', () => {
  for (const [arg, expected] of [
    ['{client}', 'alice'],
    ['{address}', '2001:db8::7'],
    ['{service}', 'vpn'],
    ['{port}', '51820,9000-9010'],
    ['{ports}', 'udp/51820,tcp/9000-9010'],
    ['{grant}', 'g17'],
    ['{event}', 'open'],
    ['{lifetime}', '90s'],
    ['user={client} from={address}', 'user=alice from=2001:db8::7'],
    ['{client}{client}', 'alicealice'],
    ['{{client}}', '{alice}'],
    ['{"text": "{client} is in"}', '{"text": "alice is in"}'],
    ['$(id) `id` ; & | > $CLIENT %s', '$(id) `id` ; & | > $CLIENT %s'],
    ['{ client }', '{ client }'],
    ['', ''],
  ] as const) {
    it(`${JSON.stringify(arg)} becomes ${JSON.stringify(expected)}`, () =>
      assert.deepEqual(fillHook(['/bin/x', arg, 'next'], FACTS), ['/bin/x', expected, 'next']));
  }

  it('stays one argument whatever is put into it, and what is put into it is not looked at again (P33)', () => {
    for (const client of ['a b', 'a\nb', '$(id)', '{address}', '-rf', '"\'', '$&', "$'"]) {
      assert.deepEqual(fillHook(['/bin/x', '<{client}>'], { ...FACTS, client }), ['/bin/x', `<${client}>`]);
    }
  });

  it('never makes up the program', () => assert.deepEqual(fillHook(['/bin/{client}'], FACTS), ['/bin/{client}']));
});

type Ground = { readonly folder: string; readonly program: string };

function ground(context: TestContext, mode = 0o755): Ground {
  const folder = mkdtempSync(join(tmpdir(), 'postern-hook-'));
  context.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const program = join(folder, 'notify');
  writeFileSync(program, '#!/bin/sh\n');
  chmodSync(program, mode);
  return { folder, program };
}

/** Does it, and gives back what is to be judged then. */
function after(change: () => void, program: string): string {
  change();
  return program;
}

const isRoot = process.getuid?.() === 0;

describe('a program is refused as a hook when', () => {
  const cases: readonly (readonly [text: string, make: (ground: Ground) => string | undefined, why: RegExp | undefined])[] = [
    ['nothing is wrong: it is not refused', ({ program }) => program, undefined],
    ['it is not executable', ({ program }) => after(() => chmodSync(program, 0o644), program), /notify is not executable$/],
    [
      'its group can write it',
      ({ program }) => after(() => chmodSync(program, 0o775), program),
      /others can write .*notify \(mode 0775\)$/,
    ],
    ['everybody can write it', ({ program }) => after(() => chmodSync(program, 0o757), program), /others can write .*notify/],
    ['it is not there', ({ folder }) => join(folder, 'nothing'), /^there is no program .*nothing$/],
    ['it is a folder', ({ folder }) => folder, /is not a regular file$/],
    ['it lies in a file', ({ program }) => join(program, 'x'), /^there is no program/],
    [
      'everybody can write its folder',
      ({ folder, program }) => after(() => chmodSync(folder, 0o777), program),
      /^others can write the folder .* on the way to .*notify \(mode 0777\)$/,
    ],
    [
      'the group of its folder can write there, and put another program in its place',
      ({ folder, program }) => after(() => chmodSync(folder, 0o775), program),
      /^others can write the folder .* on the way to .*notify \(mode 0775\)$/,
    ],
    ['its folder is like /tmp: it is not refused', ({ folder, program }) => after(() => chmodSync(folder, 0o1777), program), undefined],
    [
      'a link leads to one that everybody can write',
      ({ folder, program }) => {
        chmodSync(program, 0o777);
        symlinkSync(program, join(folder, 'link'));
        return join(folder, 'link');
      },
      /others can write .*link/,
    ],
    [
      'a link leads to a good one: it is not refused',
      ({ folder, program }) => after(() => symlinkSync(program, join(folder, 'link')), join(folder, 'link')),
      undefined,
    ],
    [
      'a link to a good one lies where everybody can write',
      ({ folder, program }) => {
        mkdirSync(join(folder, 'open'));
        chmodSync(join(folder, 'open'), 0o777);
        symlinkSync(program, join(folder, 'open', 'link'));
        return join(folder, 'open', 'link');
      },
      /others can write the folder .*open on the way/,
    ],
    [
      'a link leads nowhere',
      ({ folder }) => after(() => symlinkSync('/nowhere', join(folder, 'link')), join(folder, 'link')),
      /^there is no program/,
    ],
    [
      'it belongs to somebody else',
      ({ program }) => (isRoot ? after(() => chownSync(program, 12_345, 0), program) : undefined),
      /notify belongs to user 12345, not to root or the daemon's user$/,
    ],
    [
      'its folder belongs to somebody else',
      ({ folder, program }) => (isRoot ? after(() => chownSync(folder, 12_345, 0), program) : undefined),
      /^the folder .* on the way to .*notify belongs to user 12345$/,
    ],
  ];
  for (const [text, make, why] of cases) {
    it(text, async (context) => {
      const program = make(ground(context));
      if (program === undefined) return context.skip('needs root');
      const untrusted = await judgeProgram(program);
      if (why === undefined) assert.equal(untrusted, undefined);
      else {
        assert.match(untrusted?.why ?? '', why);
        assert.notEqual(untrusted?.cure, '');
      }
    });
  }
});

describe('rules with hooks', () => {
  const rules = (lines: string) => `clients:\n  - name: alice\n    key: ${line(1)}\nallow:\n  - services: [ssh]\n    ${lines}\n`;

  it('hand them on with the entry', async (context) => {
    const { program } = ground(context);
    const { book, lines } = await load({
      'a.yaml': rules(`on_open: [${program}, "{client}", "{address}"]\n    on_close: [${program}, closed]`),
    });
    assert.deepEqual(lines, []);
    assert.deepEqual(book?.clients[0]?.allow[0]?.hooks, {
      onOpen: [program, '{client}', '{address}'],
      onClose: [program, 'closed'],
    });
  });

  for (const [text, lines, expected] of [
    ['a shell line', 'on_open: notify $CLIENT', /^a.yaml:6:14: on_open must be a list, but "notify \$CLIENT" stands here/],
    ['an empty list', 'on_open: []', /^a.yaml:6:14: on_open must have at least 1 entry/],
    [
      'a name without its path',
      'on_open: [notify]',
      'a.yaml:6:15: not the path of a program: "notify": write the whole path, like /usr/local/bin/notify',
    ],
    [
      'program and arguments in one',
      'on_close: ["notify {client}"]',
      /^a.yaml:6:16: not the path of a program: .*one argument is one entry/,
    ],
    [
      'an unknown placeholder',
      'on_open: [/bin/true, "for {clients}"]',
      'a.yaml:6:26: nothing is called {clients} here: did you mean "client"?',
    ],
    [
      'a placeholder like no other',
      'on_open: [/bin/true, "{password}"]',
      `a.yaml:6:26: nothing is called {password} here: known are ${PLACEHOLDERS.map((name) => `{${name}}`).join(' ')}`,
    ],
    ['a zero byte', 'on_open: [/bin/true, "a\\0b"]', 'a.yaml:6:26: an argument holds a zero byte: remove it'],
    ['a number among the arguments', 'on_open: [/bin/true, 5]', /^a.yaml:6:26: .*put it in quotes: "5"/],
    [
      'a program that is not there',
      'on_close: [/usr/local/bin/no-such-hook]',
      /^a.yaml:6:16: there is no program \/usr\/local\/bin\/no-such-hook/,
    ],
    ['a file that nobody can run', 'on_open: [/etc/passwd]', 'a.yaml:6:15: /etc/passwd is not executable: run: chmod a+rx /etc/passwd'],
    [
      'both wrong: both are named',
      'on_open: [/etc/passwd]\n    on_close: [/no/such]',
      /^a.yaml:6:15: .*not executable.*\na.yaml:7:16: there is no program/s,
    ],
  ] as const) {
    it(`${text} is refused with its place`, async () => {
      const { book, lines: told } = await load({ 'a.yaml': rules(lines) });
      assert.equal(book, undefined);
      if (typeof expected === 'string') assert.deepEqual(told, [expected]);
      else assert.match(told.join('\n'), expected);
    });
  }
});
