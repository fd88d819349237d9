// Finds and opens the client's private key. Tries no key that the user did not mean, and keeps no passphrase longer than needed.
import type { SecretKey } from '../protocol/identity.ts';
import { parsePrivateKey } from '../protocol/openssh.ts';
import { CommandError, isCommandError } from './command-error.ts';
import { askPassphrase, passphraseFromFile } from './passphrase.ts';
import { quote } from './quote.ts';
import { readSecretFile } from './secret-file.ts';
import type { World } from './world.ts';

// Like ssh: three attempts at the terminal.
const MAX_QUESTIONS = 3;

export type Identity = { readonly secret: SecretKey; readonly path: string };

/** Where a key may be. `optional`: ssh's configuration names it, and it may be of another type, as ssh would try the next one. */
export type Candidate = { readonly path: string; readonly optional: boolean };

/** The key in `named`, else the first of `candidates` that exists. */
export async function loadIdentity(named: string | undefined, candidates: readonly Candidate[], world: World): Promise<Identity> {
  let refused: CommandError | undefined;
  for (const { path, optional } of named === undefined ? candidates : [{ path: named, optional: false }]) {
    const content = readSecretFile(path, 'key file', world);
    if (content === undefined) continue;
    try {
      return { secret: await openKey(path, content.toString('utf8'), world), path };
    } catch (cause) {
      if (!optional || !isCommandError(cause) || cause.code !== 'identity-refused') throw cause;
      refused ??= cause;
    } finally {
      content.fill(0);
    }
  }
  if (refused !== undefined) throw refused;
  if (named !== undefined)
    throw new CommandError(2, 'no-identity', `there is no key file ${quote(named)}: make one with "knock keygen -f FILE"`);
  const places = [...new Set(candidates.map(({ path }) => quote(path)))];
  throw new CommandError(2, 'no-identity', `no key found (looked for ${places.join(' and ')}): make one with "knock keygen"`);
}

async function openKey(path: string, text: string, world: World): Promise<SecretKey> {
  const plain = parsePrivateKey(text);
  if (plain.kind === 'key') return plain.secret;
  if (plain.kind === 'refused') throw new CommandError(2, 'identity-refused', `${quote(path)}: ${plain.why}`);
  const filed = passphraseFromFile(world);
  if (filed !== undefined) {
    const secret = tryPassphrase(path, text, filed);
    if (secret === undefined) throw wrongPassphrase(path, 'the passphrase in KNOCK_PASSPHRASE_FILE is wrong');
    return secret;
  }
  for (let asked = 0; asked < MAX_QUESTIONS; asked += 1) {
    const typed = await askPassphrase(`Passphrase for ${quote(path)}: `, world);
    if (typed === undefined)
      throw new CommandError(2, 'no-passphrase', `${quote(path)} needs a passphrase and there is no terminal: set KNOCK_PASSPHRASE_FILE`);
    const secret = tryPassphrase(path, text, typed);
    if (secret !== undefined) return secret;
    world.err('knock: wrong passphrase\n');
  }
  throw wrongPassphrase(path, `no right passphrase after ${MAX_QUESTIONS} attempts`);
}

/** Undefined when the passphrase is wrong. Wipes it in each case. */
function tryPassphrase(path: string, text: string, passphrase: Uint8Array): SecretKey | undefined {
  try {
    const result = parsePrivateKey(text, passphrase);
    if (result.kind === 'key') return result.secret;
    if (result.kind === 'refused') throw new CommandError(2, 'identity-refused', `${quote(path)}: ${result.why}`);
    return undefined;
  } finally {
    passphrase.fill(0);
  }
}

function wrongPassphrase(path: string, why: string): CommandError {
  return new CommandError(1, 'wrong-passphrase', `${quote(path)} did not open: ${why}`);
}
