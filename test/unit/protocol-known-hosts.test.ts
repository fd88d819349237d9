// Lookups in known_hosts texts. Entries made by the real ssh-keygen -H are in test/integration/openssh.test.ts.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { secretFromSeed } from '../../protocol/identity.ts';
import { findHostKeys } from '../../protocol/known-hosts.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { VECTORS } from './protocol-vector-file.ts';

const [FIRST, SECOND] = [1, 2].map((fill) => secretFromSeed(new Uint8Array(32).fill(fill)).publicKey);
assert.ok(FIRST !== undefined && SECOND !== undefined);
const [A, B] = [formatPublicLine(FIRST, ''), formatPublicLine(SECOND, '')];
const RSA = 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB';

function hashed(name: string, salt: Buffer = randomBytes(20)): string {
  return `|1|${salt.toString('base64')}|${createHmac('sha1', salt).update(name).digest('base64')}`;
}

/** `A`, `A B`, `types …`, `revoked A` or `none`. */
function found(text: string, host = 'example.org', port = 22): string {
  const result = findHostKeys(text, host, port);
  const name = (key: Uint8Array) => (Buffer.compare(key, FIRST ?? new Uint8Array()) === 0 ? 'A' : 'B');
  if (result.kind === 'keys') return result.keys.map(name).join(' ');
  if (result.kind === 'revoked') return `revoked ${result.keys.map(name).join(' ')}`;
  return result.kind === 'only-other-types' ? `types ${result.types.join(' ')}` : 'none';
}

const CASES: readonly {
  readonly text: string;
  readonly file: string;
  readonly host?: string;
  readonly port?: number;
  readonly expected: string;
}[] = [
  { text: 'an empty file', file: '', expected: 'none' },
  { text: 'a plain name', file: `example.org ${A}`, expected: 'A' },
  { text: 'another name', file: `example.com ${A}`, expected: 'none' },
  { text: 'a longer name that ends the same', file: `www.example.org ${A}`, expected: 'none' },
  { text: 'a shorter name that begins the same', file: `example.or ${A}`, expected: 'none' },
  { text: 'any case of letters', file: `Example.ORG ${A}`, host: 'EXAMPLE.org', expected: 'A' },
  { text: 'a list of names', file: `web1,example.org,192.0.2.1 ${A}`, expected: 'A' },
  { text: 'an address in a list', file: `web1,example.org,192.0.2.1 ${A}`, host: '192.0.2.1', expected: 'A' },
  { text: 'an IPv6 address', file: `2001:db8::1 ${A}`, host: '2001:db8::1', expected: 'A' },
  { text: 'an IPv6 address with a port', file: `[2001:db8::1]:2222 ${A}`, host: '2001:db8::1', port: 2222, expected: 'A' },
  { text: 'a name with a port', file: `[example.org]:2222 ${A}`, port: 2222, expected: 'A' },
  { text: 'a name with another port', file: `[example.org]:2222 ${A}`, port: 2223, expected: 'none' },
  { text: 'a name with a port, asked for port 22', file: `[example.org]:2222 ${A}`, expected: 'none' },
  { text: 'a plain name, asked for another port', file: `example.org ${A}`, port: 2222, expected: 'none' },
  { text: 'a star', file: `*.org ${A}`, expected: 'A' },
  { text: 'a star that matches nothing more', file: `example.org* ${A}`, expected: 'A' },
  { text: 'several stars', file: `*x*.*g ${A}`, expected: 'A' },
  { text: 'a question mark', file: `e?ample.org ${A}`, expected: 'A' },
  { text: 'a question mark stands for one letter', file: `example.org? ${A}`, expected: 'none' },
  { text: 'a dot is a dot', file: `exampleXorg ${A}\nexample.orgg ${A}`, expected: 'none' },
  { text: 'brackets are brackets', file: `[a-z]xample.org ${A}`, expected: 'none' },
  { text: 'a star with a port', file: `[*.org]:2222 ${A}`, port: 2222, expected: 'A' },
  { text: 'a negation', file: `*.org,!example.org ${A}`, expected: 'none' },
  { text: 'a negation in front', file: `!example.org,*.org ${A}`, expected: 'none' },
  { text: 'a negation of another', file: `*.org,!example.com ${A}`, expected: 'A' },
  { text: 'a negation alone matches nothing', file: `!example.com ${A}`, expected: 'none' },
  { text: 'a hashed name', file: `${hashed('example.org')} ${A}`, expected: 'A' },
  { text: 'a hashed name, asked in capitals', file: `${hashed('example.org')} ${A}`, host: 'EXAMPLE.ORG', expected: 'A' },
  { text: 'another hashed name', file: `${hashed('example.com')} ${A}`, expected: 'none' },
  { text: 'a hashed name with a port', file: `${hashed('[example.org]:2222')} ${A}`, port: 2222, expected: 'A' },
  { text: 'a hashed name in a list is junk', file: `x,${hashed('example.org')} ${A}`, expected: 'none' },
  { text: 'a hash of another kind', file: `${hashed('example.org').replace('|1|', '|2|')} ${A}`, expected: 'none' },
  { text: 'a hash that is cut', file: `${hashed('example.org').slice(0, 40)} ${A}`, expected: 'none' },
  {
    text: 'other types only',
    file: `example.org ${RSA}\nexample.org ecdsa-sha2-nistp256 AAAA\nexample.org ${RSA}`,
    expected: 'types ssh-rsa ecdsa-sha2-nistp256',
  },
  { text: 'other types of a hashed name', file: `${hashed('example.org')} ${RSA}`, expected: 'types ssh-rsa' },
  { text: 'other types of another host', file: `example.com ${RSA}`, expected: 'none' },
  { text: 'other types beside ours', file: `example.org ${RSA}\nexample.org ${A}`, expected: 'A' },
  { text: 'two keys', file: `example.org ${A}\nexample.org ${B}`, expected: 'A B' },
  { text: 'the same key twice', file: `example.org ${A}\n*.org ${A}`, expected: 'A' },
  { text: 'a revoked key', file: `@revoked example.org ${A}`, expected: 'revoked A' },
  { text: 'a key that is revoked further down', file: `example.org ${A}\n@revoked * ${A}`, expected: 'revoked A' },
  { text: 'a key that is revoked further up', file: `@revoked * ${A}\nexample.org ${A}`, expected: 'revoked A' },
  { text: 'one of two revoked', file: `example.org ${A}\nexample.org ${B}\n@revoked * ${A}`, expected: 'B' },
  { text: 'revoked for another host', file: `example.org ${A}\n@revoked example.com ${A}`, expected: 'A' },
  { text: 'a certificate authority never counts', file: `@cert-authority *.org ${A}`, expected: 'none' },
  { text: 'a certificate authority beside a key', file: `@cert-authority *.org ${A}\nexample.org ${B}`, expected: 'B' },
  { text: 'an unknown marker', file: `@other example.org ${A}`, expected: 'none' },
  { text: 'comments and blank lines', file: `# example.org ${B}\n\n   \n  # x\nexample.org ${A}\n`, expected: 'A' },
  { text: 'Windows line ends', file: `example.com ${B}\r\nexample.org ${A}\r\n`, expected: 'A' },
  { text: 'tabs, spaces in front, a comment behind', file: ` \texample.org\t${A} root@web1`, expected: 'A' },
  { text: 'a key that is cut is junk', file: `example.org ${A.slice(0, 60)}\nexample.org ${B}`, expected: 'B' },
  { text: 'another type in the blob than in the line', file: `example.org ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAB`, expected: 'none' },
  { text: 'an entry of SSH 1', file: 'example.org 1024 35 1234567890', expected: 'none' },
  { text: 'junk', file: '\u0000\u0001\nexample.org\nexample.org ssh-ed25519\n,,, x y', expected: 'none' },
  { text: 'no name', file: `,!, ${A}`, expected: 'none' },
];

describe('findHostKeys', () => {
  for (const { text, file, host, port, expected } of CASES) {
    test(`${text}: ${expected}`, () => assert.equal(found(file, host, port), expected));
  }

  test('never gives a key that is no sound identity', () => {
    const lines = VECTORS.keys.refused.map((key) => {
      const blob = Buffer.concat([Buffer.from('0000000b7373682d65643235353139' + '00000020', 'hex'), Buffer.from(key.public, 'hex')]);
      return `example.org ssh-ed25519 ${blob.toString('base64')}`;
    });
    assert.equal(found(lines.join('\n')), 'none');
    assert.equal(found([...lines, `example.org ${A}`].join('\n')), 'A');
  });

  test('a pattern of many stars does not take forever', () => {
    assert.equal(found(`${'*a'.repeat(200)} ${A}`, `${'a'.repeat(250)}b`), 'none');
  });
});
