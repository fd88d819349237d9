// Names the files that people give instead of an OpenSSH private key file, and the command that helps. Reads no key out of them.
import { otherTypeProblem } from './openssh-public.ts';

const MAKE_ONE = 'make one with "knock keygen" or "ssh-keygen -t ed25519"';

type ForeignFile = { readonly pattern: RegExp; readonly why: string };

/** In order: the first pattern that matches says what the file is. */
const FOREIGN_FILES: readonly ForeignFile[] = [
  {
    pattern: /-----BEGIN OPENSSH PRIVATE KEY-----/,
    why: 'this private key file is damaged: the base64 between its BEGIN and END lines is not whole, or something stands around them',
  },
  { pattern: /-----BEGIN RSA PRIVATE KEY-----/, why: `this is an RSA key in PEM: Postern needs an ssh-ed25519 key; ${MAKE_ONE}` },
  { pattern: /-----BEGIN EC PRIVATE KEY-----/, why: `this is an ECDSA key in PEM: Postern needs an ssh-ed25519 key; ${MAKE_ONE}` },
  { pattern: /-----BEGIN DSA PRIVATE KEY-----/, why: `this is a DSA key in PEM: Postern needs an ssh-ed25519 key; ${MAKE_ONE}` },
  {
    pattern: /-----BEGIN (ENCRYPTED )?PRIVATE KEY-----/,
    why: `this is a PKCS#8 file: if it holds an Ed25519 key, rewrite it in OpenSSH format with "ssh-keygen -p -f FILE" (OpenSSH 9.6 or later); else ${MAKE_ONE}`,
  },
  {
    pattern: /^PuTTY-User-Key-File-/,
    why: 'this is a PuTTY key file: convert it with "puttygen FILE -O private-openssh-new -o NEWFILE"',
  },
  { pattern: /^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----/, why: `this is an ssh.com key file: ${MAKE_ONE}` },
  {
    pattern: /-----BEGIN (PUBLIC KEY|SSH2 PUBLIC KEY|CERTIFICATE)-----/,
    why: 'this is a public key or a certificate: give the private key file',
  },
];

/** One sentence about a text that is not an OpenSSH private key file. */
export function foreignFileProblem(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return `this file is empty: ${MAKE_ONE}`;
  const known = FOREIGN_FILES.find(({ pattern }) => pattern.test(trimmed));
  if (known !== undefined) return known.why;
  const type = trimmed.split(/\s/, 1)[0] ?? '';
  if (type === 'ssh-ed25519') return 'this is the public key: give the private key file (the same name without .pub)';
  return (
    otherTypeProblem(type) ??
    `this is no OpenSSH private key file (it does not begin with "-----BEGIN OPENSSH PRIVATE KEY-----"); ${MAKE_ONE}`
  );
}
