// OpenSSH's formats without OpenSSH: what is refused and with which words. test/integration/openssh.test.ts has the real ssh-keygen.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { secretFromSeed } from '../../protocol/identity.ts';
import { fingerprint, formatPrivateKey, formatPublicLine, parsePrivateKey, parsePublicLine } from '../../protocol/openssh.ts';
import { bytes, VECTORS } from './protocol-vector-file.ts';

const SECRET = secretFromSeed(new Uint8Array(32).fill(5));
const LINE = formatPublicLine(SECRET.publicKey, 'alice@laptop');
const FILE = formatPrivateKey(SECRET, 'alice@laptop');
const PASSPHRASE = Buffer.from('correct horse');
const LOCKED = formatPrivateKey(SECRET, 'alice@laptop', { passphrase: PASSPHRASE });
const KEY_BASE64 = LINE.split(' ')[1] ?? '';

function lineWhy(line: string): string {
  const parsed = parsePublicLine(line);
  return parsed.ok ? 'read' : parsed.why;
}

/** A public line with any type and content. */
function blobLine(type: string, key: Uint8Array, trailing: Uint8Array = new Uint8Array(0)): string {
  const text = (content: Uint8Array) => Buffer.concat([Buffer.of(0, 0, 0, content.length), content]);
  return `ssh-ed25519 ${Buffer.concat([text(Buffer.from(type)), text(key), trailing]).toString('base64')}`;
}

describe('parsePublicLine', () => {
  const sound: readonly (readonly [string, string, string])[] = [
    ['with a comment', LINE, 'alice@laptop'],
    ['without a comment', `ssh-ed25519 ${KEY_BASE64}`, ''],
    ['with a comment of several words', `${LINE} and  more`, 'alice@laptop and  more'],
    ['with a line end', `${LINE}\n`, 'alice@laptop'],
    ['with a Windows line end', `${LINE}\r\n`, 'alice@laptop'],
    ['with tabs and spaces around', ` \tssh-ed25519\t ${KEY_BASE64}\t alice `, 'alice'],
  ];
  for (const [text, line, comment] of sound) {
    test(`reads a line ${text}`, () => {
      assert.deepEqual(parsePublicLine(line), { ok: true, value: { publicKey: SECRET.publicKey, comment } });
    });
  }

  const refused: readonly (readonly [string, string, RegExp])[] = [
    ['an RSA key', 'ssh-rsa AAAAB3NzaC1yc2E x', /an RSA key: Postern needs a plain ssh-ed25519 key; make one with "knock keygen"/],
    ['an ECDSA key', 'ecdsa-sha2-nistp256 AAAA x', /an ECDSA key/],
    ['a DSA key', 'ssh-dss AAAA x', /a DSA key/],
    ['a security token', 'sk-ssh-ed25519@openssh.com AAAA x', /an Ed25519 key on a security token \(sk-ssh-ed25519\)/],
    ['an ECDSA token', 'sk-ecdsa-sha2-nistp256@openssh.com AAAA x', /an ECDSA key on a security token/],
    [
      'a certificate',
      'ssh-ed25519-cert-v01@openssh.com AAAA x',
      /this is a certificate .*: give the plain ssh-ed25519 key that it certifies/,
    ],
    ['an empty line', '', /not a public key line: ""/],
    ['a comment line', '# ssh-ed25519', /not a public key line/],
    ['the type alone', 'ssh-ed25519', /without its key/],
    ['two lines', `${LINE}\n${LINE}`, /more than one line/],
    ['options in front', `restrict,command="x" ${LINE}`, /something stands before ssh-ed25519/],
    ['a host name in front', `example.org ${LINE}`, /something stands before ssh-ed25519/],
    ['a private key file', FILE, /more than one line/],
    ['a private key line', '-----BEGIN OPENSSH PRIVATE KEY-----', /this is a private key: give the public line/],
    ['a key that is cut', LINE.slice(0, 50), /cut/],
    ['a key that is cut at a whole number of bytes', `ssh-ed25519 ${KEY_BASE64.slice(0, 64)}`, /cut off/],
    ['a key with a letter outside base64', `ssh-ed25519 ${KEY_BASE64.slice(0, 20)}!${KEY_BASE64.slice(21)}`, /not whole base64/],
    ['base64url', `ssh-ed25519 ${KEY_BASE64.slice(0, 20)}_${KEY_BASE64.slice(21)}`, /not whole base64/],
    ['padding that does not belong there', `ssh-ed25519 ${KEY_BASE64}=`, /not whole base64/],
    ['another type inside', blobLine('ssh-rsa', new Uint8Array(32)), /an RSA key/],
    ['an unknown type inside', blobLine('ssh-\u001b[2J', new Uint8Array(32)), /not an ssh-ed25519 key: "ssh-\\u001b\[2J"/],
    ['bytes after the key', blobLine('ssh-ed25519', SECRET.publicKey, Uint8Array.of(0)), /bytes after the end/],
    ['a key of 31 bytes', blobLine('ssh-ed25519', SECRET.publicKey.subarray(1)), /has 32 bytes, not 31/],
    ['control bytes', '\u001b]0;title\u0007 x y', /not a public key line: "\\u001b\]0;title\\u0007 x y"/],
    ...VECTORS.keys.refused.map((key): [string, string, RegExp] => [
      `a ${key.reason} key (${key.name})`,
      blobLine('ssh-ed25519', bytes(key.public)),
      /^this Ed25519 public key .*: no honest program made it/,
    ]),
  ];
  for (const [text, line, why] of refused) {
    test(`refuses ${text}`, () => {
      assert.match(lineWhy(line), why);
      assert.ok(lineWhy(line).length < 250);
    });
  }

  test('never throws', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (line) => assert.notEqual(lineWhy(line), 'read')));
  });

  test('reads what formatPublicLine writes, and a comment never makes a second line', () => {
    assert.equal(formatPublicLine(SECRET.publicKey, 'a\nssh-ed25519 AAAA\u0000b'), `ssh-ed25519 ${KEY_BASE64} a ssh-ed25519 AAAA b`);
    const separated = formatPublicLine(SECRET.publicKey, 'a\u2028b\u2029c');
    assert.equal(separated, `ssh-ed25519 ${KEY_BASE64} a b c`);
    assert.equal(lineWhy(`ssh-ed25519 ${KEY_BASE64} a\u2028b`), 'read');
    assert.equal(formatPublicLine(SECRET.publicKey, ''), `ssh-ed25519 ${KEY_BASE64}`);
    assert.match(fingerprint(SECRET.publicKey), /^SHA256:[A-Za-z0-9+/]{43}$/);
  });
});

/** The bytes of a private file, to damage them. */
function containerOf(file: string): Buffer {
  return Buffer.from(file.split('\n').slice(1, -2).join(''), 'base64');
}

function fileOf(container: Uint8Array): string {
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.from(container).toString('base64')}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

function changed(file: string, change: (container: Buffer) => unknown): string {
  const container = containerOf(file);
  change(container);
  return fileOf(container);
}

/** Lengths of what stands before the plain part: magic, "none", "none", "", 1, the public blob, the part's length. */
const PLAIN_AT = 15 + 8 + 8 + 4 + 4 + 55 + 4;

function refusal(text: string, passphrase?: Uint8Array): string {
  const result = parsePrivateKey(text, passphrase);
  return result.kind === 'refused' ? result.why : result.kind;
}

describe('parsePrivateKey', () => {
  test('reads what formatPrivateKey writes', () => {
    assert.deepEqual(parsePrivateKey(FILE), { kind: 'key', secret: SECRET, comment: 'alice@laptop' });
    assert.deepEqual(parsePrivateKey(LOCKED, PASSPHRASE), { kind: 'key', secret: SECRET, comment: 'alice@laptop' });
  });

  test('reads comments of every length: the padding differs', () => {
    for (let length = 0; length <= 17; length += 1) {
      const comment = 'c'.repeat(length);
      assert.deepEqual(parsePrivateKey(formatPrivateKey(SECRET, comment)), { kind: 'key', secret: SECRET, comment });
    }
  });

  test('reads Windows line ends, blank lines around and lines of any length', () => {
    assert.equal(refusal(FILE.replaceAll('\n', '\r\n')), 'key');
    assert.equal(refusal(`\n\n${FILE}\n\n`), 'key');
    assert.equal(refusal(fileOf(containerOf(FILE))), 'key');
  });

  test('asks for a passphrase only where one is needed, and knows a wrong one', () => {
    assert.equal(refusal(LOCKED), 'passphrase-needed');
    assert.equal(refusal(LOCKED, new Uint8Array(0)), 'passphrase-needed');
    assert.equal(refusal(LOCKED, Buffer.from('wrong')), 'wrong-passphrase');
    assert.equal(refusal(FILE, PASSPHRASE), 'key');
    assert.throws(() => formatPrivateKey(SECRET, '', { passphrase: new Uint8Array(0) }), /an empty passphrase/);
  });

  test('the two halves are never taken from different keys', () => {
    const other = formatPrivateKey(secretFromSeed(new Uint8Array(32).fill(6)), 'alice@laptop');
    const exchanged = changed(FILE, (container) => {
      // The public blob of the other key in front of our private part.
      containerOf(other).copy(container, 15 + 8 + 8 + 4 + 4, 15 + 8 + 8 + 4 + 4, PLAIN_AT - 4);
    });
    assert.match(refusal(exchanged), /its public key is not the one of its secret key/);
  });

  test('no byte of a file without passphrase can change unnoticed, but for those of the comment', () => {
    const container = containerOf(FILE);
    const commentAt = container.indexOf('alice@laptop');
    for (let at = 0; at < container.length; at += 1) {
      // Its length too: one more takes the padding's only byte, 1, for a letter.
      const inComment = at >= commentAt - 1 && at < commentAt + 'alice@laptop'.length;
      const kind = refusal(changed(FILE, (bytesOf) => bytesOf.writeUInt8(bytesOf.readUInt8(at) ^ 1, at)));
      assert.equal(kind === 'key', inComment, `byte ${at}: ${kind}`);
    }
  });

  test('a file that is cut anywhere, or has bytes behind its end, is refused', () => {
    const container = containerOf(FILE);
    for (let length = 0; length < container.length; length += 1) assert.match(refusal(fileOf(container.subarray(0, length))), /damaged/);
    assert.match(refusal(fileOf(Buffer.concat([container, Buffer.of(0)]))), /damaged/);
    const locked = containerOf(LOCKED);
    for (const length of [20, 60, 120, locked.length - 16, locked.length - 1]) {
      assert.match(refusal(fileOf(locked.subarray(0, length)), PASSPHRASE), /damaged/);
    }
    assert.match(refusal(fileOf(Buffer.concat([locked, Buffer.alloc(16)])), PASSPHRASE), /damaged/);
  });

  const foreign: readonly (readonly [string, string, RegExp])[] = [
    ['an empty file', '', /this file is empty: make one with "knock keygen"/],
    ['a .pub file', `${LINE}\n`, /this is the public key: give the private key file \(the same name without \.pub\)/],
    ['a public RSA key', 'ssh-rsa AAAA x', /an RSA key/],
    ['an RSA key in PEM', '-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n', /an RSA key in PEM/],
    ['an ECDSA key in PEM', '-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n', /an ECDSA key in PEM/],
    ['a DSA key in PEM', '-----BEGIN DSA PRIVATE KEY-----\nMIIB\n-----END DSA PRIVATE KEY-----\n', /a DSA key in PEM/],
    [
      'PKCS#8',
      String(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })),
      /a PKCS#8 file: .* "ssh-keygen -p -f FILE"/,
    ],
    ['encrypted PKCS#8', '-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n', /a PKCS#8 file/],
    ['a PuTTY file', 'PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n', /puttygen FILE -O private-openssh-new/],
    ['an ssh.com file', '---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n', /an ssh\.com key file/],
    ['a public key in PEM', '-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n', /give the private key file/],
    ['a text', 'dear diary', /this is no OpenSSH private key file/],
    ['a binary', '\u007fELF\u0002\u0001\u0000', /this is no OpenSSH private key file/],
    ['an OpenSSH file without its end', FILE.slice(0, 200), /damaged: the base64 between its BEGIN and END lines is not whole/],
    ['an OpenSSH file with a letter too many', FILE.replace('AAAA', 'AA*AA'), /damaged: the base64/],
    ['two files in one', FILE + FILE, /damaged: the base64/],
    ['a megabyte', 'x'.repeat(1_000_000), /far too long/],
  ];
  for (const [text, file, why] of foreign) test(`refuses ${text}, and says what it is`, () => assert.match(refusal(file), why));

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ['two keys', changed(FILE, (container) => container.writeUInt32BE(2, 35)), /this file holds 2 keys/],
    ['no key', changed(FILE, (container) => container.writeUInt32BE(0, 35)), /this file holds 0 keys/],
    [
      'check numbers that differ',
      changed(FILE, (container) => container.writeUInt8(container.readUInt8(PLAIN_AT) ^ 1, PLAIN_AT)),
      /its check numbers differ/,
    ],
    ['padding that counts wrongly', changed(FILE, (container) => container.writeUInt8(9, container.length - 1)), /its padding is wrong/],
    [
      'an unknown cipher',
      changed(LOCKED, (container) => container.write('aes999-xyz', 19, 'latin1')),
      /encrypted by "aes999-xyz with bcrypt", which Postern does not know: .* "ssh-keygen -p -Z aes256-ctr -f FILE"/,
    ],
    [
      'four thousand million rounds of bcrypt',
      changed(LOCKED, (container) => container.writeUInt32BE(0xffff_ffff, container.indexOf(Buffer.of(0, 0, 0, 16, 0, 0, 0, 1)))),
      /asks for 4294967295 bcrypt rounds/,
    ],
  ];
  for (const [text, file, why] of wrong) test(`refuses a file with ${text}`, () => assert.match(refusal(file, PASSPHRASE), why));

  test('never throws, whatever the bytes', () => {
    const container = containerOf(FILE);
    const change = fc.array(fc.tuple(fc.nat(container.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(change, (changes) => {
        const bytesOf = Buffer.from(container);
        for (const [at, value] of changes) bytesOf[at] = value;
        assert.equal(typeof parsePrivateKey(fileOf(bytesOf)).kind, 'string');
      }),
      { numRuns: 500 },
    );
  });
});
