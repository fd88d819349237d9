// `knock keygen`: makes an Ed25519 key pair in OpenSSH's format. Never overwrites, never prints the private half.
import { closeSync, fsyncSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { dirname } from 'node:path';
import { secretFromSeed } from '../protocol/identity.ts';
import { fingerprint, formatPrivateKey, formatPublicLine } from '../protocol/openssh.ts';
import { CommandError, isCommandError, usageError } from './command-error.ts';
import { askPassphrase, passphraseFromFile } from './passphrase.ts';
import { clientPaths } from './paths.ts';
import { quote } from './quote.ts';
import type { World } from './world.ts';

export type KeygenOptions = {
  readonly file?: string;
  readonly comment?: string;
  /** False with --no-passphrase. */
  readonly passphrase?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
};

const SEED_BYTES = 32;
// As ssh-keygen: shorter ones are refused.
const MIN_PASSPHRASE_BYTES = 5;

/** Writes FILE (0600) and FILE.pub, prints the public line and what to do with it. Gives the exit code. */
export async function keygen(options: KeygenOptions, world: World): Promise<number> {
  const file = options.file ?? clientPaths(world).ownIdentityFile;
  const comment = options.comment ?? defaultComment();
  if (/\p{Cc}/u.test(comment) || comment.length > 200) throw usageError(['--comment: one line of at most 200 characters']);
  // Looked at first, so that nobody types a passphrase in vain; what decides is O_EXCL below.
  refuseExisting(file);
  refuseExisting(`${file}.pub`);
  const passphrase = await choosePassphrase(options, world);
  const secret = secretFromSeed(world.random(SEED_BYTES));
  const line = formatPublicLine(secret.publicKey, comment);
  try {
    writeKeyPair(file, formatPrivateKey(secret, comment, passphrase === undefined ? {} : { passphrase }), line);
  } finally {
    passphrase?.fill(0);
    secret.seed.fill(0);
  }
  if (options.json === true) {
    world.out(
      `${JSON.stringify({ ok: true, file, publicFile: `${file}.pub`, publicKey: line, fingerprint: fingerprint(secret.publicKey), encrypted: passphrase !== undefined })}\n`,
    );
    return 0;
  }
  world.out(`${line}\n`);
  if (options.quiet !== true) {
    world.err(`\nThe private key is in ${quote(file)}: keep it on this machine.\n`);
    world.err('Give the line above to the server\'s administrator, for: posternd client add NAME --key "LINE" --services ssh\n');
    world.err('That prints an invitation. Here: knock add INVITATION, and then knock as it says.\n');
  }
  return 0;
}

/** Both files, FILE readable by its owner alone, or none. Never overwrites. */
export function writeKeyPair(file: string, privateText: string, publicLine: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeNew(file, privateText, 0o600);
    try {
      writeNew(`${file}.pub`, `${publicLine}\n`, 0o644);
    } catch (cause) {
      unlinkSync(file);
      throw cause;
    }
  } catch (cause) {
    throw isCommandError(cause) ? cause : writeError(file, cause);
  }
}

async function choosePassphrase(options: KeygenOptions, world: World): Promise<Uint8Array | undefined> {
  if (options.passphrase === false) return undefined;
  const filed = passphraseFromFile(world);
  if (filed !== undefined) return checkedLength(filed);
  const first = await askPassphrase('Passphrase for the new key (empty for none): ', world);
  if (first === undefined)
    throw new CommandError(
      2,
      'no-passphrase',
      'there is no terminal to ask for a passphrase on: set KNOCK_PASSPHRASE_FILE or give --no-passphrase',
    );
  if (first.length === 0) return undefined;
  checkedLength(first);
  const second = await askPassphrase('The same passphrase again: ', world);
  const same = second !== undefined && Buffer.compare(first, second) === 0;
  second?.fill(0);
  if (!same) throw new CommandError(1, 'passphrase-mismatch', 'the two passphrases differ: no key was made');
  return first;
}

function checkedLength(passphrase: Uint8Array): Uint8Array {
  if (passphrase.length < MIN_PASSPHRASE_BYTES) {
    throw new CommandError(
      2,
      'passphrase-short',
      `the passphrase is too short (at least ${MIN_PASSPHRASE_BYTES} bytes): use --no-passphrase for none`,
    );
  }
  return passphrase;
}

function refuseExisting(file: string): void {
  try {
    closeSync(openSync(file, 'r'));
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return;
    // Something stands there that cannot be read: that is reason enough.
  }
  throw alreadyThere(file);
}

function writeNew(file: string, text: string, mode: number): void {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', mode);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') throw alreadyThere(file);
    throw cause;
  }
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function alreadyThere(file: string): CommandError {
  return new CommandError(1, 'key-exists', `${quote(file)} exists and is not overwritten: use it, or give another name with -f FILE`);
}

function writeError(file: string, cause: unknown): CommandError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  return new CommandError(
    code === 'EACCES' || code === 'EPERM' ? 3 : 1,
    'key-unwritable',
    `cannot write the key ${quote(file)} (${code}): nothing was made`,
  );
}

function defaultComment(): string {
  const plain = (text: string) => text.replace(/[^\x21-\x7e]/g, '');
  try {
    return `${plain(userInfo().username)}@${plain(hostname())}`;
  } catch {
    return plain(hostname());
  }
}
