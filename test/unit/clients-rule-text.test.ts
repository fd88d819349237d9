// Rule files are changed as a person would change them: everything else stays, letter for letter.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { addEntry, type Edit, removeClient, setEnabled } from '../../daemon/clients/rule-text.ts';
import { line } from './rules-ground.ts';

const FILE = `# Who may in. Do not change without asking Dana.
name: operations   # the team

clients:
  # people
  - name: alice     # since 2024
    key:  ${line(1)}   # laptop

  # bob works from home
  # on Fridays
  - name: 'bob'
    key:
      - ${line(2)}
      - ${line(3)}
    expires: "2031-03-31"
    # slots: 64

  - { name: carol, key: '${line(4)}' } # short
  -
    name: dave
    enabled: false      # until June
    key: >-
      ssh-ed25519
      ${line(5).split(' ')[1]}

# What they may
allow:
  - services: [ ssh ]   # always
    ttl: 30s
`;
const DAVINA = [
  ['name', 'davina'],
  ['key', line(9, 'davina@tower #2: new')],
] as const;

function text(edit: Edit): string {
  assert.ok(edit.ok, edit.ok ? '' : edit.why);
  return edit.text;
}

/** The lines that are in one of both, in the order in which `diff` shows them. */
function difference(before: string, after: string): readonly string[] {
  const [a, b] = [before.split('\n'), after.split('\n')];
  let [head, tail] = [0, 0];
  while (head < Math.min(a.length, b.length) && a[head] === b[head]) head += 1;
  while (tail < Math.min(a.length, b.length) - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  return [...a.slice(head, a.length - tail).map((each) => `-${each}`), ...b.slice(head, b.length - tail).map((each) => `+${each}`)];
}

describe('adding a client', () => {
  test('puts it behind the last one, apart by a blank line only where the others are', () => {
    assert.deepEqual(difference(FILE, text(addEntry(FILE, 'clients', DAVINA))), [
      '+  - name: davina',
      `+    key: "${line(9, 'davina@tower #2: new')}"`,
    ]);
    const apart = `clients:\n- name: a\n  key: ${line(1)}\n\n- name: b\n  key: ${line(2)}\n  # slots: 3\n# end\n`;
    assert.deepEqual(difference(apart, text(addEntry(apart, 'clients', DAVINA))).slice(0, 2), ['+', '+- name: davina']);
  });

  const entry = [
    ['name', 'true'],
    ['key', line(9)],
    ['expires', '2031-01-01'],
    ['slots', 3],
  ] as const;
  const cases: readonly (readonly [what: string, before: string, after: string])[] = [
    ['an empty file', '', `clients:\n  - name: "true"\n    key: ${line(9)}\n    expires: 2031-01-01\n    slots: 3\n`],
    ['only comments', '# a\n', `# a\nclients:\n  - name: "true"\n    key: ${line(9)}\n    expires: 2031-01-01\n    slots: 3\n`],
    [
      'clients without any',
      'clients: # none\nallow:\n',
      `clients: # none\n  - name: "true"\n    key: ${line(9)}\n    expires: 2031-01-01\n    slots: 3\nallow:\n`,
    ],
    [
      'an empty list',
      'clients: [] # none\n',
      `clients: # none\n  - name: "true"\n    key: ${line(9)}\n    expires: 2031-01-01\n    slots: 3\n`,
    ],
    [
      'no clients, but more',
      ' name: x',
      ` name: x\n clients:\n   - name: "true"\n     key: ${line(9)}\n     expires: 2031-01-01\n     slots: 3`,
    ],
    [
      'CRLF',
      'name: x\r\nclients:\r\n',
      `name: x\r\nclients:\r\n  - name: "true"\r\n    key: ${line(9)}\r\n    expires: 2031-01-01\r\n    slots: 3\r\n`,
    ],
    [
      'a byte order mark',
      '\ufeffname: x\n',
      `\ufeffname: x\nclients:\n  - name: "true"\n    key: ${line(9)}\n    expires: 2031-01-01\n    slots: 3\n`,
    ],
    ['brackets', 'clients: [{ref: a},]\n', `clients: [{ref: a}, { name: "true", key: "${line(9)}", expires: "2031-01-01", slots: 3 },]\n`],
    [
      'JSON',
      '{\n  "clients": [\n    {"ref":"a"}\n  ]\n}\n',
      `{\n  "clients": [\n    {"ref":"a"},\n    { "name": "true", "key": "${line(9)}", "expires": "2031-01-01", "slots": 3 }\n  ]\n}\n`,
    ],
    [
      'JSON without clients',
      '{"allow": []}',
      `{"allow": [], "clients": [{ "name": "true", "key": "${line(9)}", "expires": "2031-01-01", "slots": 3 }]}`,
    ],
    ['JSON with nothing', '{}\n', `{ "clients": [{ "name": "true", "key": "${line(9)}", "expires": "2031-01-01", "slots": 3 }] }\n`],
  ];
  for (const [what, before, after] of cases) test(what, () => assert.equal(text(addEntry(before, 'clients', entry)), after));

  test('an allow entry, with lists in brackets', () => {
    const allow = [
      ['services', ['ssh', 'tcp/8443']],
      ['from', ['10.0.0.0/8', '2001:db8::/32']],
      ['ttl', '10m'],
      ['once', true],
    ] as const;
    assert.equal(
      text(addEntry('clients:\n  - ref: a\n', 'allow', allow)),
      'clients:\n  - ref: a\nallow:\n  - services: [ssh, tcp/8443]\n    from: [10.0.0.0/8, "2001:db8::/32"]\n    ttl: 10m\n    once: true\n',
    );
  });
});

describe('enabled', () => {
  const cases: readonly (readonly [name: string, enabled: boolean, lines: readonly string[]])[] = [
    ['alice', false, ['+    enabled: false']],
    ['bob', false, ['+    enabled: false']],
    [
      'carol',
      false,
      [`-  - { name: carol, key: '${line(4)}' } # short`, `+  - { name: carol, key: '${line(4)}', enabled: false } # short`],
    ],
    ['dave', true, ['-    enabled: false      # until June', '+    enabled: true      # until June']],
    ['dave', false, []],
    ['alice', true, []],
  ];
  for (const [name, enabled, lines] of cases) {
    test(`${name}: ${enabled}`, () => {
      const edit = setEnabled(FILE, name, enabled);
      assert.deepEqual(difference(FILE, text(edit)), lines);
      assert.equal(edit.ok && edit.changed, lines.length > 0);
    });
  }

  test('behind the last key of a client, whatever comes after', () => {
    const after = text(setEnabled(FILE, 'bob', false));
    assert.match(after, /expires: "2031-03-31"\n {4}enabled: false\n {4}# slots: 64\n/);
  });
});

describe('removing a client', () => {
  test('takes the comment above it along, and nothing else', () => {
    const edit = removeClient(FILE, 'name', 'bob');
    assert.equal(edit.ok && edit.comments, 2);
    assert.deepEqual(difference(FILE, text(edit)), [
      '-  # bob works from home',
      '-  # on Fridays',
      "-  - name: 'bob'",
      '-    key:',
      `-      - ${line(2)}`,
      `-      - ${line(3)}`,
      '-    expires: "2031-03-31"',
      '-    # slots: 64',
      '-',
    ]);
  });

  test('leaves the comment that heads the list', () => {
    assert.deepEqual(difference(FILE, text(removeClient(FILE, 'name', 'alice'))), [
      '-  - name: alice     # since 2024',
      `-    key:  ${line(1)}   # laptop`,
    ]);
  });

  const cases: readonly (readonly [what: string, before: string, after: string])[] = [
    ['the only one', 'clients: # all\n  - name: x\n    slots: 3\nallow: []\n', 'clients: # all\nallow: []\n'],
    ['the only one in brackets', 'clients: [ { name: x } ] # all\n', 'clients: [] # all\n'],
    ['the last in brackets', 'clients: [ { name: a }, { name: x }, ]\n', 'clients: [ { name: a }, ]\n'],
    ['the first in brackets', '{"clients": [\n  {"name": "x"},\n  {"name": "a"}\n]}\n', '{"clients": [\n  {"name": "a"}\n]}\n'],
    ['at the end of a file without a line end', 'clients:\n- ref: a\n- name: x', 'clients:\n- ref: a\n'],
    ['CRLF', 'clients:\r\n- name: x\r\n  slots: 3\r\n- ref: a\r\n', 'clients:\r\n- ref: a\r\n'],
  ];
  for (const [what, before, after] of cases) test(what, () => assert.equal(text(removeClient(before, 'name', 'x')), after));

  test('a reference', () => {
    assert.equal(text(removeClient('clients:\n  - ref: a\n  - name: x\n', 'ref', 'a')), 'clients:\n  - name: x\n');
  });
});

test('what it cannot change safely it does not change', () => {
  const odd = [
    'clients:\n  - &a { name: x }\n',
    '? clients\n: - name: x\n  - name: y\n',
    'clients: [\n',
    '--- \nclients:\n  - name: x\n...\n',
    'clients: {name: x}\n',
    '- name: x\n',
  ];
  for (const before of odd) {
    for (const edit of [addEntry(before, 'clients', DAVINA), setEnabled(before, 'x', false), removeClient(before, 'name', 'x')]) {
      // Either a result that reads as meant (checked inside), or none; never an exception.
      if (!edit.ok) assert.match(edit.why, /with an editor/);
    }
  }
});

test('whatever the style: what was added is taken away again without a trace, and others keep every letter', () => {
  const quote = fc.constantFrom('', "'", '"');
  const client = fc.record(
    {
      quote,
      comment: fc.constantFrom('', ' # x: y', '    # [a'),
      above: fc.constantFrom('', '\n', '# note\n', '\n# two\n# lines\n'),
      below: fc.constantFrom('', '# deeper\n'),
      flow: fc.boolean(),
    },
    { noNullPrototype: true },
  );
  const style = fc.record({
    indent: fc.constantFrom('', '  ', '    '),
    clients: fc.array(client, { minLength: 1, maxLength: 4 }),
    tail: fc.constantFrom('', 'allow: []\n', '\n# end\nallow:\n  - services: [ssh]\n'),
    crlf: fc.boolean(),
  });
  fc.assert(
    fc.property(style, fc.nat(3), ({ indent, clients, tail, crlf }, pick) => {
      const lines = clients.map(({ quote: q, comment, above, below, flow }, at) => {
        const head = above.replaceAll('#', `${indent}#`);
        if (flow) return `${head}${indent}- { name: ${q}c${at}${q}, slots: ${at + 1} }${comment}\n`;
        return `${head}${indent}- name: ${q}c${at}${q}${comment}\n${indent}  slots: ${at + 1}\n${below === '' ? '' : `${indent}  ${below}`}`;
      });
      const lf = `clients:\n${lines.join('')}${tail}`;
      const before = crlf ? lf.replaceAll('\n', '\r\n') : lf;
      const added = text(addEntry(before, 'clients', DAVINA));
      assert.equal(text(removeClient(added, 'name', 'davina')), before);
      const name = `c${pick % clients.length}`;
      const disabled = text(setEnabled(before, name, false));
      assert.equal(disabled.replace(/, enabled: false|[ ]*enabled: false\r?\n/, ''), before);
      // A removal only ever takes lines away.
      const left = text(removeClient(before, 'name', name)).split('\n');
      const all = before.split('\n');
      let at = 0;
      for (const each of left) at = all.indexOf(each, at) + 1 || assert.fail(`a new line: ${each}`);
    }),
    { numRuns: 500 },
  );
});
