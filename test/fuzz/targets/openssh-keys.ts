// OpenSSH's formats of keys: public lines, private key files, authorized_keys. The first byte says which. What is taken is written again in OpenSSH's
// own form and must be the same key; what is refused is refused in one plain sentence.
import { parseAuthorizedKeys } from '../../../daemon/rules/authorized-keys.ts';
import { secretFromSeed } from '../../../protocol/identity.ts';
import { fingerprint, formatPrivateKey, formatPublicLine, parsePrivateKey, parsePublicLine } from '../../../protocol/openssh.ts';
import { hold, holdPlain, sameBytes } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const KEY = secretFromSeed(new Uint8Array(32).fill(3));
const LINE = formatPublicLine(KEY.publicKey, 'somebody@somewhere');
const zeros = (count: number) => new Uint8Array(count);
const FILE = formatPrivateKey(KEY, 'somebody@somewhere', { random: zeros });
const LOCKED = formatPrivateKey(KEY, '', { passphrase: new TextEncoder().encode('open'), random: zeros });
const BEGIN = '-----BEGIN OPENSSH PRIVATE KEY-----\n';
const END = '\n-----END OPENSSH PRIVATE KEY-----\n';
const OPTIONS = 'from="192.0.2.0/24,2001:db8::/32",expiry-time="20271231Z",no-pty,command="echo \\"a\\" b"';

const WHICH = ['line', 'file', 'container', 'authorized'] as const;

function run(input: Uint8Array): string {
  const which = WHICH[(input[0] ?? 0) % WHICH.length] ?? 'line';
  const bytes = input.subarray(1);
  const text = Buffer.from(bytes).toString('utf8');
  if (which === 'line') return `line ${publicLine(text)}`;
  if (which === 'authorized') return authorized(text);
  return `file ${privateFile(which === 'file' ? text : BEGIN + Buffer.from(bytes).toString('base64') + END)}`;
}

function publicLine(text: string): string {
  const read = parsePublicLine(text);
  if (!read.ok) {
    holdPlain(read.why, 'the reason');
    return 'refused';
  }
  const { publicKey, comment } = read.value;
  const written = formatPublicLine(publicKey, comment);
  hold(!/[\r\n]/.test(written), 'more than one line');
  const again = parsePublicLine(written);
  hold(again.ok && sameBytes(again.value.publicKey, publicKey), 'another key when it is written again');
  hold(/^SHA256:[A-Za-z0-9+/]{43}$/.test(fingerprint(publicKey)), 'no fingerprint');
  return 'taken';
}

function privateFile(text: string): string {
  const read = parsePrivateKey(text);
  if (read.kind === 'refused') {
    holdPlain(read.why, 'the reason');
    // Bytes of a private key must not stand in a message.
    for (const line of text.split('\n'))
      hold(line.length < 24 || line.includes('OPENSSH') || !read.why.includes(line), 'a line of the file stands in the reason');
    return 'refused';
  }
  hold(read.kind !== 'wrong-passphrase', 'a passphrase that nobody gave is wrong');
  if (read.kind !== 'key') return 'locked';
  const again = parsePrivateKey(formatPrivateKey(read.secret, read.comment, { random: zeros }));
  hold(again.kind === 'key' && sameBytes(again.secret.seed, read.secret.seed), 'another key when it is written again');
  hold(sameBytes(secretFromSeed(read.secret.seed).publicKey, read.secret.publicKey), 'a public key that is not the one of its seed');
  return 'taken';
}

function authorized(text: string): string {
  const lines = parseAuthorizedKeys(text);
  let last = 0;
  for (const line of lines) {
    hold(line.line > last && line.line <= text.split(/\r?\n/).length, 'a line that is not there');
    last = line.line;
    if (line.kind === 'skipped') holdPlain(line.why, 'the reason');
    else for (const network of line.from ?? []) hold(network.prefix <= (network.address.family === 4 ? 32 : 128), 'no network');
  }
  return lines.some(({ kind }) => kind === 'key') ? 'authorized taken' : lines.length > 0 ? 'authorized skipped' : 'authorized none';
}

function container(file: string): Uint8Array {
  return new Uint8Array([2, ...Buffer.from(file.split('\n').slice(1, -2).join(''), 'base64')]);
}

const of = (which: number, text: string): Uint8Array => new Uint8Array([which, ...new TextEncoder().encode(text)]);

function generate(random: Random): Uint8Array {
  const key = secretFromSeed(random.bytes(32));
  switch (random.below(3)) {
    case 0: {
      const before = random.oneIn(2) ? `${OPTIONS} ` : random.oneIn(2) ? '@revoked ' : '';
      const lines = Array.from(
        { length: 1 + random.below(3) },
        () => before + formatPublicLine(key.publicKey, random.oneIn(2) ? 'a b' : ''),
      );
      return of(3, lines.join(random.oneIn(3) ? '\r\n' : '\n'));
    }
    case 1:
      return of(0, formatPublicLine(key.publicKey, 'x'));
    default: {
      const out = container(formatPrivateKey(key, 'comment'.slice(0, random.below(8)), { random: zeros }));
      if (random.oneIn(2)) out[1 + random.below(out.length - 1)] = random.below(256);
      return out;
    }
  }
}

export const target: FuzzTarget = {
  about: 'OpenSSH public keys, private key files and authorized_keys',
  covers: [
    'protocol/openssh-public.ts',
    'protocol/openssh-private.ts',
    'protocol/openssh-foreign.ts',
    'protocol/ssh-wire.ts',
    'protocol/curve.ts',
    'daemon/rules/authorized-keys.ts',
    'daemon/rules/expiry.ts',
  ],
  kind: 'bytes',
  maxBytes: 1500,
  seeds: [
    of(0, LINE),
    of(1, FILE),
    container(FILE),
    container(LOCKED),
    of(3, `${LINE}\n# comment\n${OPTIONS} ${LINE}\n`),
    of(3, `cert-authority ${LINE}\n@cert-authority * ${LINE}\nssh-rsa AAAA x\nfrom="a*" ${LINE}`),
    of(1, 'PuTTY-User-Key-File-3: ssh-ed25519\n'),
    of(0, 'ssh-rsa AAAAB3 x'),
  ],
  dictionary: ['ssh-ed25519', 'AAAAC3NzaC1lZDI1NTE5AAAAI', 'expiry-time="', 'from="', 'cert-authority,', '\\"', '","', '\r\n', BEGIN, END],
  generate,
  run,
  mustReach: [
    'line taken',
    'line refused',
    'file taken',
    'file refused',
    'file locked',
    'authorized taken',
    'authorized skipped',
    'authorized none',
  ],
};
