// OpenSSH's private key files (PROTOCOL.key in its sources): reads them strictly, writes them as ssh-keygen does. Opens no files and
// asks nobody for a passphrase. What it refuses, it refuses with the command that helps.
import { randomBytes } from 'node:crypto';
import { type PublicKey, type SecretKey, secretFromPair } from './identity.ts';
import { decrypt, derive, encryptCtr, KEY_FILE_CIPHERS, type KeyFileCipher, MAX_BCRYPT_ROUNDS } from './openssh-cipher.ts';
import { foreignFileProblem } from './openssh-foreign.ts';
import { KEY_TYPE, parsePublicBlob, publicBlob } from './openssh-public.ts';
import { quoted } from './quoted.ts';
import { string, uint32, WireError, WireReader } from './ssh-wire.ts';

export type PrivateKeyResult =
  | { readonly kind: 'key'; readonly secret: SecretKey; readonly comment: string }
  | { readonly kind: 'passphrase-needed' }
  | { readonly kind: 'wrong-passphrase' }
  | { readonly kind: 'refused'; readonly why: string };

// Fixed by PROTOCOL.key.
const BEGIN = '-----BEGIN OPENSSH PRIVATE KEY-----';
const END = '-----END OPENSSH PRIVATE KEY-----';
const MAGIC = 'openssh-key-v1\0';
const PLAIN_BLOCK_BYTES = 8;
const LINE_LETTERS = 70;
const SEED_BYTES = 32;
// What ssh-keygen 9.2 writes.
const WRITTEN = { cipher: 'aes256-ctr', saltBytes: 16, rounds: 16 } as const;
/** An Ed25519 file has about 400 characters. */
const MAX_TEXT_LENGTH = 64 * 1024;

const DAMAGED = 'this private key file is damaged';

/** Reads the text of a private key file. An empty passphrase counts as none. Never throws on any text. */
export function parsePrivateKey(text: string, passphrase?: Uint8Array): PrivateKeyResult {
  if (text.length > MAX_TEXT_LENGTH) return refused('this is no private key file: it is far too long');
  const container = containerOf(text);
  if (container === undefined) return refused(foreignFileProblem(text));
  try {
    return readContainer(new WireReader(container), passphrase);
  } catch (error) {
    if (error instanceof WireError) return refused(`${DAMAGED}: ${error.message}`);
    throw error;
  }
}

export type FormatOptions = {
  readonly passphrase?: Uint8Array;
  /** Gives n random bytes. The system's source unless a test wants the same file twice. */
  readonly random?: (byteCount: number) => Uint8Array;
};

/** The text of a private key file, as ssh-keygen writes it. An empty passphrase is refused: leave it out instead. */
export function formatPrivateKey(secret: SecretKey, comment: string, options: FormatOptions = {}): string {
  const { passphrase, random = randomBytes } = options;
  if (passphrase !== undefined && passphrase.length === 0) throw new RangeError('formatPrivateKey: an empty passphrase');
  const check = random(4);
  const body = Buffer.concat([
    check,
    check,
    string(KEY_TYPE),
    string(secret.publicKey),
    string(Buffer.concat([secret.seed, secret.publicKey])),
    string(comment),
  ]);
  const sealed = passphrase === undefined ? sealPlain(body) : sealEncrypted(body, passphrase, random(WRITTEN.saltBytes));
  const container = Buffer.concat([
    Buffer.from(MAGIC, 'latin1'),
    string(sealed.cipher),
    string(sealed.kdf),
    string(sealed.kdfOptions),
    uint32(1),
    string(publicBlob(secret.publicKey)),
    string(sealed.content),
  ]);
  const lines = container.toString('base64').match(new RegExp(`.{1,${LINE_LETTERS}}`, 'g')) ?? [];
  return `${BEGIN}\n${lines.join('\n')}\n${END}\n`;
}

/** The decoded bytes between the two marks, or undefined when this is another kind of file. */
function containerOf(text: string): Uint8Array | undefined {
  const lines = text
    .trim()
    .split(/\r?\n/)
    .map((line) => line.trim());
  if (lines.length < 3 || lines[0] !== BEGIN || lines.at(-1) !== END) return undefined;
  const base64 = lines.slice(1, -1).join('');
  const bytes = Buffer.from(base64, 'base64');
  return bytes.toString('base64') === base64 ? bytes : undefined;
}

function readContainer(reader: WireReader, passphrase: Uint8Array | undefined): PrivateKeyResult {
  if (Buffer.from(reader.take(MAGIC.length)).toString('latin1') !== MAGIC) return refused(`${DAMAGED}: it does not begin as one`);
  const cipherName = reader.text();
  const kdf = reader.text();
  const kdfOptions = reader.string();
  const keyCount = reader.uint32();
  if (keyCount !== 1) return refused(`this file holds ${keyCount} keys: Postern reads files with one`);
  const publicKey = parsePublicBlob(reader.string());
  if (!publicKey.ok) return refused(publicKey.why);
  const sealed = reader.string();
  if (cipherName === 'none' && kdf === 'none') {
    if (kdfOptions.length > 0 || reader.remaining > 0) return refused(`${DAMAGED}: bytes that mean nothing`);
    return readKey(sealed, PLAIN_BLOCK_BYTES, publicKey.value) ?? refused(`${DAMAGED}: its check numbers differ`);
  }
  const cipher = KEY_FILE_CIPHERS.get(cipherName);
  if (cipher === undefined || kdf !== 'bcrypt') {
    const name = quoted(`${cipherName} with ${kdf}`);
    return refused(`this file is encrypted by ${name}, which Postern does not know: change it with "ssh-keygen -p -Z aes256-ctr -f FILE"`);
  }
  if (sealed.length === 0 || sealed.length % cipher.blockBytes !== 0 || reader.remaining !== cipher.tagBytes) {
    return refused(`${DAMAGED}: its encrypted part has a wrong length`);
  }
  return readEncrypted(cipher, { sealed, tag: reader.take(cipher.tagBytes), kdfOptions, publicKey: publicKey.value }, passphrase);
}

type Encrypted = { readonly sealed: Uint8Array; readonly tag: Uint8Array; readonly kdfOptions: Uint8Array; readonly publicKey: PublicKey };

function readEncrypted(cipher: KeyFileCipher, file: Encrypted, passphrase: Uint8Array | undefined): PrivateKeyResult {
  const options = new WireReader(file.kdfOptions);
  const salt = options.string();
  const rounds = options.uint32();
  if (options.remaining > 0 || salt.length === 0 || rounds === 0) return refused(`${DAMAGED}: its bcrypt options make no sense`);
  if (rounds > MAX_BCRYPT_ROUNDS) return refused(`this file asks for ${rounds} bcrypt rounds, Postern does at most ${MAX_BCRYPT_ROUNDS}`);
  if (passphrase === undefined || passphrase.length === 0) return { kind: 'passphrase-needed' };
  const { key, iv } = derive(cipher, passphrase, salt, rounds);
  const plain = decrypt(cipher, key, iv, file.sealed, file.tag);
  key.fill(0);
  if (plain === undefined) return { kind: 'wrong-passphrase' };
  return readKey(plain, cipher.blockBytes, file.publicKey) ?? { kind: 'wrong-passphrase' };
}

/** The decrypted part. Undefined when the two check numbers differ, which is how a wrong passphrase shows. */
function readKey(plain: Uint8Array, blockBytes: number, outer: PublicKey): PrivateKeyResult | undefined {
  const reader = new WireReader(plain);
  const [check, checkAgain] = [reader.uint32(), reader.uint32()];
  if (check !== checkAgain) return undefined;
  if (reader.text() !== KEY_TYPE) return refused(`${DAMAGED}: its two halves hold different types of key`);
  const publicBytes = reader.string();
  const secretBytes = reader.string();
  const comment = Buffer.from(reader.string()).toString('utf8');
  const padding = reader.take(reader.remaining);
  if (plain.length % blockBytes !== 0 || padding.length >= blockBytes || padding.some((byte, at) => byte !== at + 1)) {
    return refused(`${DAMAGED}: its padding is wrong`);
  }
  if (secretBytes.length !== SEED_BYTES * 2) return refused(`${DAMAGED}: its secret key has ${secretBytes.length} bytes`);
  const secret = secretFromPair(secretBytes.subarray(0, SEED_BYTES), outer);
  // A file whose public half is not the seed's would have us sign as one and be known as another. It stands there three times.
  const sound = secret !== undefined && sameBytes(publicBytes, outer) && sameBytes(secretBytes.subarray(SEED_BYTES), outer);
  return sound ? { kind: 'key', secret, comment } : refused(`${DAMAGED}: its public key is not the one of its secret key`);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

type Sealed = { readonly cipher: string; readonly kdf: string; readonly kdfOptions: Uint8Array; readonly content: Uint8Array };

function sealPlain(body: Uint8Array): Sealed {
  return { cipher: 'none', kdf: 'none', kdfOptions: new Uint8Array(0), content: padded(body, PLAIN_BLOCK_BYTES) };
}

function sealEncrypted(body: Uint8Array, passphrase: Uint8Array, salt: Uint8Array): Sealed {
  const cipher = KEY_FILE_CIPHERS.get(WRITTEN.cipher);
  if (cipher === undefined) throw new TypeError(`no cipher ${WRITTEN.cipher}`);
  const { key, iv } = derive(cipher, passphrase, salt, WRITTEN.rounds);
  const kdfOptions = Buffer.concat([string(salt), uint32(WRITTEN.rounds)]);
  return { cipher: WRITTEN.cipher, kdf: 'bcrypt', kdfOptions, content: encryptCtr(key, iv, padded(body, cipher.blockBytes)) };
}

/** 1, 2, 3 … up to the block. */
function padded(body: Uint8Array, blockBytes: number): Uint8Array {
  const missing = (blockBytes - (body.length % blockBytes)) % blockBytes;
  return Buffer.concat([body, Uint8Array.from({ length: missing }, (_, at) => at + 1)]);
}

function refused(why: string): PrivateKeyResult {
  return { kind: 'refused', why };
}
