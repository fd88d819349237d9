// The quick reader of profiles: what it reads, the YAML reader reads too, and the same; what it does not read, it leaves to that one.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseProfiles } from '../../client/profile.ts';
import { readProfilesQuickly, withKey } from '../../client/quick-profile.ts';
import { type PublicKey, secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';

const KEY = formatPublicLine(secretFromSeed(new Uint8Array(32).fill(7)).publicKey, 'web1');

/** Undefined when the quick reader leaves it to the other; fails when they differ. */
function agreed(text: string): ReadonlyMap<string, unknown> | undefined {
  const found = readProfilesQuickly(text);
  const quick = found === undefined ? [] : [...found].map(([name, profile]) => [name, withKey(profile)] as const);
  if (found === undefined || quick.some(([, profile]) => profile === undefined)) return undefined;
  const full = parseProfiles(text, 'config.yaml');
  assert.deepEqual([full.problems, [...full.profiles]], [[], quick], text);
  return new Map(quick);
}

describe('profiles read quickly', () => {
  const WHOLE = `# servers
profiles:
  web1:
    host: web1.example.org
    server_key: ${KEY}
    identity: ~/.ssh/id_ed25519
    port: 62201
    services: [ssh, tcp/8443]
    ttl: 10m
    source: 2001:db8:1::7

    time: sntp:192.0.2.5
    slots: 64
    offers:
      ssh: { ports: [tcp/22], default: true }
      admin: { ports: [ tcp/8443, udp/5000-5010 ], once: true }
      tcp/9000: {}
      other:
  # the other
  db:
    host: 192.0.2.7
    psk_file: /etc/psk file
`;

  test('a key of the right form that is not sound is refused where it is used, and stops no knock at another host', () => {
    const unsound = formatPublicLine(new Uint8Array(32) as PublicKey, '');
    const text = `profiles:\n  a:\n    server_key: ${unsound}\n  b:\n    server_key: ${KEY}\n`;
    assert.equal(parseProfiles(text, 'config.yaml').problems.length, 1);
    const found = readProfilesQuickly(text);
    assert.deepEqual(
      [...(found ?? [])].map(([name, profile]) => [name, withKey(profile) !== undefined]),
      [
        ['a', false],
        ['b', true],
      ],
    );
  });

  test('what knock add writes, and comments', () => {
    assert.deepEqual([...(agreed(WHOLE)?.keys() ?? [])], ['web1', 'db']);
    assert.equal(agreed('profiles:\n')?.size, 0);
  });

  const left: readonly (readonly [what: string, text: string])[] = [
    ['an empty file', ''],
    ['another key at the top', `other: 1\n${WHOLE}`],
    ['a quoted text', 'profiles:\n  a:\n    host: "x"\n'],
    ['a remark behind a value', 'profiles:\n  a:\n    host: x # mine\n'],
    ['a profile in braces', 'profiles:\n  a: { host: x }\n'],
    ['a list over lines', 'profiles:\n  a:\n    services:\n      - ssh\n'],
    ['a text over lines', 'profiles:\n  a:\n    host: x\n      y\n'],
    ['a tab', 'profiles:\n  a:\n    host:\tx\n'],
    ['an anchor', 'profiles:\n  a: &a\n    host: x\n'],
    ['a name twice', 'profiles:\n  a:\n    host: x\n  a:\n    host: y\n'],
    ['a key twice', 'profiles:\n  a:\n    host: x\n    host: y\n'],
    ['an unknown key', 'profiles:\n  a:\n    hots: x\n'],
    ['a wrong value', 'profiles:\n  a:\n    port: 0\n'],
    ['a number where a text belongs', 'profiles:\n  a:\n    host: 10\n'],
    ['a number of another kind', 'profiles:\n  a:\n    host: 1e3\n'],
    ['nothing under a name', 'profiles:\n  a:\n'],
    ['names that are not aligned', 'profiles:\n    a:\n      host: x\n  b:\n    host: y\n'],
    ['a second document', `${WHOLE}---\nprofiles:\n`],
    ['another script', 'profiles:\n  a:\n    host: bücher.example\n'],
  ];
  for (const [what, text] of left)
    test(`leaves to the YAML reader: ${what}`, () => {
      assert.equal(agreed(text), undefined);
    });

  test('no text is read otherwise than by the YAML reader, whatever was done to it', () => {
    const lines = WHOLE.split('\n');
    let read = 0;
    const pieces = [
      ' ',
      '  ',
      ':',
      ': ',
      '#',
      ' #',
      '-',
      '- ',
      '[',
      ']',
      '{',
      '}',
      ',',
      '~',
      'null',
      'true',
      '1',
      '0x1',
      '.5',
      "'",
      '"',
      '&a',
      '*a',
      '!',
      '|',
      '>',
      '%',
      '@',
      '\n',
      '\t',
      '?',
      'host: y',
      'a:',
      '---',
    ];
    const edit = fc.record({ at: fc.nat(), length: fc.nat(3), text: fc.oneof(fc.constant(''), fc.constantFrom(...pieces)) });
    fc.assert(
      fc.property(fc.shuffledSubarray(lines.slice(2, -1)), fc.boolean(), fc.array(edit, { maxLength: 3 }), (some, ordered, edits) => {
        const kept = ordered ? lines.slice(2, -1).filter((line) => some.includes(line)) : some;
        let text = `profiles:\n${kept.join('\n')}\n`;
        for (const { at, length, text: piece } of edits) {
          const start = at % (text.length + 1);
          text = text.slice(0, start) + piece + text.slice(start + length);
        }
        if (agreed(text) !== undefined) read += 1;
      }),
      { numRuns: 3000 },
    );
    assert.ok(read > 100, `only ${read} texts were read quickly: this test shows little`);
  });
});
