// OpenSSH's public lines and fingerprints (sshd(8), "AUTHORIZED_KEYS FILE FORMAT", without options). Private files: openssh-private.ts.
import { createHash } from 'node:crypto';
import { type Parsed, parsed, unparsed } from './brand.ts';
import { checkPublicKey, type PublicKey } from './identity.ts';
import { quoted } from './quoted.ts';
import { string, WireError, WireReader } from './ssh-wire.ts';

export const KEY_TYPE = 'ssh-ed25519';

/** What other types are called by people, and the beginning of their names in files. */
const OTHER_TYPES: readonly { readonly pattern: RegExp; readonly name: string }[] = [
  { pattern: /^[a-z0-9-]{1,40}-cert-v\d\d@openssh\.com$/, name: 'a certificate' },
  { pattern: /^sk-ssh-ed25519@openssh\.com$/, name: 'an Ed25519 key on a security token (sk-ssh-ed25519)' },
  { pattern: /^(webauthn-)?sk-ecdsa-/, name: 'an ECDSA key on a security token (sk-ecdsa)' },
  { pattern: /^ecdsa-sha2-/, name: 'an ECDSA key' },
  { pattern: /^(ssh-rsa|rsa-sha2-\d+)$/, name: 'an RSA key' },
  { pattern: /^ssh-dss$/, name: 'a DSA key' },
  { pattern: /^ssh-ed448$/, name: 'an Ed448 key' },
];

/** A sentence that names a key type which Postern cannot use and says what to do; undefined for a name that is no key type at all. */
export function otherTypeProblem(type: string): string | undefined {
  const other = OTHER_TYPES.find(({ pattern }) => pattern.test(type));
  if (other === undefined) return undefined;
  return other.name === 'a certificate'
    ? `this is a certificate (${type}): give the plain ssh-ed25519 key that it certifies`
    : `this is ${other.name}: Postern needs a plain ssh-ed25519 key; make one with "knock keygen" or "ssh-keygen -t ed25519"`;
}

/** Reads `ssh-ed25519 AAAA… comment`. One line; the comment may be empty. */
export function parsePublicLine(line: string): Parsed<{ readonly publicKey: PublicKey; readonly comment: string }> {
  const text = line.trim();
  if (/[\r\n]/.test(text)) return unparsed('more than one line where one public key was expected');
  const match = /^(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?$/s.exec(text);
  const type = match?.[1] ?? text.split(/\s/, 1)[0] ?? '';
  if (type !== KEY_TYPE) return unparsed(otherTypeProblem(type) ?? unknownLine(text));
  if (match === null) return unparsed('a public key line without its key: expected "ssh-ed25519 AAAA… comment"');
  const publicKey = parsePublicBase64(match[2] ?? '');
  return publicKey.ok ? parsed({ publicKey: publicKey.value, comment: match[3] ?? '' }) : publicKey;
}

/** Reads the middle part of a public line: the base64 of type and key. */
export function parsePublicBase64(base64: string): Parsed<PublicKey> {
  const blob = Buffer.from(base64, 'base64');
  // Buffer skips what is not base64; what it understood must be exactly what stood there.
  if (blob.toString('base64') !== base64) return unparsed('the key in this line is not whole base64: was it cut or wrapped when copied?');
  return parsePublicBlob(blob);
}

/** Reads the blob that public lines and private files hold: string type, string key. */
export function parsePublicBlob(blob: Uint8Array): Parsed<PublicKey> {
  try {
    const reader = new WireReader(blob);
    const type = reader.text();
    if (type !== KEY_TYPE) return unparsed(otherTypeProblem(type) ?? `not an ssh-ed25519 key: ${quoted(type)}`);
    const key = reader.string();
    if (reader.remaining > 0) return unparsed('bytes after the end of the key');
    return checkPublicKey(key);
  } catch (error) {
    if (error instanceof WireError) return unparsed('the key is cut off: was the line copied whole?');
    throw error;
  }
}

export function publicBlob(publicKey: PublicKey): Uint8Array {
  return Buffer.concat([string(KEY_TYPE), string(publicKey)]);
}

/** The line for `authorized_keys`, `known_hosts` and rules, without a line end. Control characters and line separators in the comment become spaces. */
export function formatPublicLine(publicKey: PublicKey, comment: string): string {
  const plain = comment.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim();
  const key = `${KEY_TYPE} ${Buffer.from(publicBlob(publicKey)).toString('base64')}`;
  return plain === '' ? key : `${key} ${plain}`;
}

/** `SHA256:…` as `ssh-keygen -l` prints it. */
export function fingerprint(publicKey: PublicKey): string {
  return `SHA256:${createHash('sha256').update(publicBlob(publicKey)).digest('base64').replace(/=+$/, '')}`;
}

function unknownLine(text: string): string {
  if (/-----BEGIN .*PRIVATE KEY-----/.test(text)) return 'this is a private key: give the public line (the file that ends in .pub)';
  if (/\sssh-ed25519 AAAA/.test(text))
    return 'something stands before ssh-ed25519 in this line: give type and key only, without options or host name';
  return `not a public key line: ${quoted(text)} (expected "ssh-ed25519 AAAA… comment")`;
}
