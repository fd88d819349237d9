// Our reading and writing of OpenSSH's formats against the real ssh-keygen: what it writes we read, what we write it reads.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { unixMs } from '../../protocol/brand.ts';
import { type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import { findHostKeys } from '../../protocol/known-hosts.ts';
import { fingerprint, formatPrivateKey, formatPublicLine, parsePrivateKey, parsePublicLine } from '../../protocol/openssh.ts';
import { openKnock, sealKnock } from '../../protocol/packet.ts';
import { pairAsClient, pairAsServer } from '../../protocol/pairing.ts';
import { windowOf } from '../../protocol/tags.ts';
import { forge } from '../unit/protocol-forge.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-openssh-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function path(): string {
  files += 1;
  return join(folder, `key-${files}`);
}

function sshKeygen(...argv: readonly string[]): string {
  return execFileSync('ssh-keygen', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function made(...argv: readonly string[]): { readonly file: string; readonly text: string; readonly line: string } {
  const file = path();
  sshKeygen('-q', '-f', file, ...argv);
  return { file, text: readFileSync(file, 'utf8'), line: readFileSync(`${file}.pub`, 'utf8') };
}

function stored(text: string): string {
  const file = path();
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

function secretIn(text: string, passphrase?: Uint8Array): SecretKey {
  const result = parsePrivateKey(text, passphrase);
  assert.equal(result.kind, 'key', JSON.stringify(result));
  assert.ok(result.kind === 'key');
  return result.secret;
}

/** Comments whose lengths need every padding there is. */
const COMMENTS = ['', 'a', 'ab', 'abc', 'abcd', 'abcde', 'abcdef', 'abcdefg', 'user@host with words', 'Grüße'];

describe('what ssh-keygen writes', () => {
  for (const comment of COMMENTS) {
    test(`a file with the comment ${JSON.stringify(comment)} is read, its fingerprint is ssh-keygen's`, () => {
      const { file, text, line } = made('-t', 'ed25519', '-N', '', '-C', comment);
      const result = parsePrivateKey(text);
      assert.ok(result.kind === 'key');
      assert.equal(result.comment, comment);
      assert.equal(formatPublicLine(result.secret.publicKey, comment), line.trim());
      assert.deepEqual(parsePublicLine(line), { ok: true, value: { publicKey: result.secret.publicKey, comment } });
      assert.equal(fingerprint(result.secret.publicKey), sshKeygen('-l', '-f', file).split(' ')[1]);
    });
  }

  const ciphers = [
    'aes256-ctr',
    'aes192-ctr',
    'aes128-ctr',
    'aes256-cbc',
    'aes192-cbc',
    'aes128-cbc',
    'aes256-gcm@openssh.com',
    'aes128-gcm@openssh.com',
    'chacha20-poly1305@openssh.com',
  ];
  for (const cipher of ciphers) {
    test(`a file encrypted by ${cipher} is read with its passphrase, asked for without, refused with another`, () => {
      const { text, line } = made('-t', 'ed25519', '-N', 'correct horse', '-C', 'x', '-Z', cipher, '-a', '4');
      const parsed = parsePublicLine(line);
      assert.ok(parsed.ok);
      assert.deepEqual(secretIn(text, Buffer.from('correct horse')).publicKey, parsed.value.publicKey);
      assert.equal(parsePrivateKey(text).kind, 'passphrase-needed');
      assert.equal(parsePrivateKey(text, Buffer.from('wrong')).kind, 'wrong-passphrase');
    });
  }

  test('a cipher that Postern does not know is refused by its name', () => {
    const { text } = made('-t', 'ed25519', '-N', 'correct horse', '-Z', '3des-cbc', '-a', '4');
    const result = parsePrivateKey(text, Buffer.from('correct horse'));
    assert.match(result.kind === 'refused' ? result.why : result.kind, /"3des-cbc with bcrypt".*ssh-keygen -p -Z aes256-ctr/);
  });

  const others: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['RSA', ['-t', 'rsa', '-b', '2048'], /an RSA key: Postern needs a plain ssh-ed25519 key/],
    ['ECDSA', ['-t', 'ecdsa'], /an ECDSA key: Postern needs a plain ssh-ed25519 key/],
    ['RSA in PEM', ['-t', 'rsa', '-b', '2048', '-m', 'PEM'], /an RSA key/],
    ['ECDSA in PEM', ['-t', 'ecdsa', '-m', 'PEM'], /an ECDSA key/],
    ['RSA in PKCS#8', ['-t', 'rsa', '-b', '2048', '-m', 'PKCS8'], /PKCS#8|RSA/],
  ];
  for (const [text, argv, why] of others) {
    test(`${text} is refused by name, the private file and the public line`, () => {
      const key = made(...argv, '-N', '');
      const secret = parsePrivateKey(key.text);
      assert.match(secret.kind === 'refused' ? secret.why : secret.kind, why);
      const line = parsePublicLine(key.line);
      assert.match(line.ok ? 'read' : line.why, /an (RSA|ECDSA) key/);
    });
  }

  test('a certificate is refused by name', () => {
    const [authority, key] = [made('-t', 'ed25519', '-N', ''), made('-t', 'ed25519', '-N', '')];
    sshKeygen('-q', '-s', authority.file, '-I', 'id', `${key.file}.pub`);
    const line = parsePublicLine(readFileSync(`${key.file}-cert.pub`, 'utf8'));
    assert.match(line.ok ? 'read' : line.why, /this is a certificate \(ssh-ed25519-cert-v01@openssh\.com\)/);
  });

  test('an Ed25519 key in PKCS#8 is refused with the command that converts it', () => {
    const pem = String(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const result = parsePrivateKey(pem);
    assert.match(result.kind === 'refused' ? result.why : result.kind, /PKCS#8 file: .*ssh-keygen -p -f FILE/);
  });
});

describe('what we write', () => {
  for (const comment of COMMENTS) {
    test(`ssh-keygen reads our file with the comment ${JSON.stringify(comment)}: -y and -l`, () => {
      const secret = secretFromSeed(randomBytes(32));
      const file = stored(formatPrivateKey(secret, comment));
      assert.equal(sshKeygen('-y', '-f', file).trim(), formatPublicLine(secret.publicKey, comment));
      assert.equal(sshKeygen('-l', '-f', file).split(' ')[1], fingerprint(secret.publicKey));
    });
  }

  test('ssh-keygen opens our encrypted file with its passphrase only, and we read it when it has changed the passphrase', () => {
    const secret = secretFromSeed(randomBytes(32));
    const file = stored(formatPrivateKey(secret, 'locked', { passphrase: Buffer.from('first pass') }));
    assert.equal(sshKeygen('-y', '-P', 'first pass', '-f', file).trim(), formatPublicLine(secret.publicKey, 'locked'));
    assert.notEqual(spawnSync('ssh-keygen', ['-y', '-P', 'wrong', '-f', file]).status, 0);
    sshKeygen('-q', '-p', '-P', 'first pass', '-N', 'second pass', '-f', file);
    assert.deepEqual(secretIn(readFileSync(file, 'utf8'), Buffer.from('second pass')), secret);
    sshKeygen('-q', '-p', '-P', 'second pass', '-N', '', '-f', file);
    assert.deepEqual(secretIn(readFileSync(file, 'utf8')), secret);
  });

  test('is byte for byte what ssh-keygen writes but for its random check number', () => {
    const { text } = made('-t', 'ed25519', '-N', '', '-C', 'user@host');
    const secret = secretIn(text);
    const container = Buffer.from(text.split('\n').slice(1, -2).join(''), 'base64');
    const check = container.subarray(98, 102);
    assert.equal(formatPrivateKey(secret, 'user@host', { random: () => check }), text);
  });
});

describe('known_hosts as ssh-keygen -H hashes it', () => {
  test('finds names, addresses and ports, and nothing else', () => {
    const [first, second, third] = [1, 2, 3].map((fill) => secretFromSeed(new Uint8Array(32).fill(fill)).publicKey);
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    const file = stored(
      [
        `web1.example.org,192.0.2.1 ${formatPublicLine(first, '')}`,
        `[web2.example.org]:2222 ${formatPublicLine(second, '')}`,
        `2001:db8::5 ${formatPublicLine(third, '')}`,
        '',
      ].join('\n'),
    );
    sshKeygen('-H', '-f', file);
    const text = readFileSync(file, 'utf8');
    assert.equal(text.includes('example.org'), false);
    assert.deepEqual(findHostKeys(text, 'web1.example.org', 22), { kind: 'keys', keys: [first] });
    assert.deepEqual(findHostKeys(text, 'WEB1.example.org', 22), { kind: 'keys', keys: [first] });
    assert.deepEqual(findHostKeys(text, '192.0.2.1', 22), { kind: 'keys', keys: [first] });
    assert.deepEqual(findHostKeys(text, 'web2.example.org', 2222), { kind: 'keys', keys: [second] });
    assert.deepEqual(findHostKeys(text, 'web2.example.org', 22), { kind: 'none' });
    assert.deepEqual(findHostKeys(text, '2001:db8::5', 22), { kind: 'keys', keys: [third] });
    assert.deepEqual(findHostKeys(text, 'web3.example.org', 22), { kind: 'none' });
    // ssh-keygen's own lookup agrees.
    assert.match(sshKeygen('-F', 'web1.example.org', '-f', file), /found: line 1/);
  });
});

describe('a signature made for SSH (P6)', () => {
  const key = made('-t', 'ed25519', '-N', '', '-C', 'alice');
  const alice = secretIn(key.text);
  const server = secretFromSeed(randomBytes(32));
  const sentAtMs = unixMs(1_795_269_612_345);
  const body = {
    action: { kind: 'open', lifetimeSeconds: 0, once: false },
    sentAtMs,
    source: { kind: 'unbound' },
    sourcePort: 0,
    requests: [],
  } as const;
  const window = windowOf(sentAtMs);
  const atServer = pairAsServer(server, alice.publicKey);
  const payload = sealKnock({ pairing: pairAsClient(alice, server.publicKey), secret: alice, window, slot: 0, body, random: randomBytes });
  const opened = openKnock(payload, atServer, window);
  assert.ok(opened.ok);
  const { proof } = opened;
  const message = Buffer.concat([Buffer.from('postern/1 knock'), server.publicKey, proof.tag, proof.nonce, proof.bodyBytes]);

  /** The armored SSHSIG that ssh-keygen -Y sign makes; its last 64 bytes are the signature. */
  function sshSignature(content: Uint8Array): Buffer {
    const armored = execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'postern/1 knock', '-f', key.file], {
      input: content,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    return Buffer.from(armored.toString('latin1').split('\n').slice(1, -2).join(''), 'base64');
  }

  test('opens nothing, even over the very bytes that a knock signs', () => {
    assert.equal(openKnock(forge(atServer, proof), atServer, window).ok, true);
    const result = openKnock(forge(atServer, { ...proof, signature: sshSignature(message).subarray(-64) }), atServer, window);
    assert.equal(result.ok ? 'opened' : result.reason, 'signature');
  });

  test('and a knock’s signature is none for SSH', () => {
    const sshsig = sshSignature(message);
    const check = (signature: Uint8Array) => {
      const whole = Buffer.concat([sshsig.subarray(0, -64), signature]);
      const file = stored(`-----BEGIN SSH SIGNATURE-----\n${whole.toString('base64')}\n-----END SSH SIGNATURE-----\n`);
      const argv = ['-Y', 'check-novalidate', '-n', 'postern/1 knock', '-s', file];
      return spawnSync('ssh-keygen', argv, { input: message }).status;
    };
    assert.equal(check(sshsig.subarray(-64)), 0);
    assert.notEqual(check(proof.signature), 0);
  });
});
