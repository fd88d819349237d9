// Which key belongs to which client: one key, one client. What an administrator wrote into a rule file comes first and must be right;
// what a user wrote into a keys_file can at most be skipped, so that nobody can block a reload with someone else's key.
import { keyId, type PublicKey } from '../../protocol/identity.ts';
import { fingerprint } from '../../protocol/openssh.ts';
import { readTrustedFile } from '../config/trusted-file.ts';
import { formatPlace, type Place, type Problem, problemAt } from '../problem.ts';
import { safeText } from '../safe-text.ts';
import { parseAuthorizedKeys } from './authorized-keys.ts';
import type { ClientDraft } from './read-rule-file.ts';
import type { ClientKey } from './rulebook.ts';

// Tunable.
const MAX_KEYS_OF_A_FILE = 16;
const MAX_KEYS_FILE_BYTES = 256 * 1024;
/** Its user must not be able to fill the log and the memory of whoever reads it. */
const MAX_WARNINGS_OF_A_FILE = 16;

type Owner = { readonly client: ClientDraft; readonly place: Place };

/** The keys of each client, in the order of `clients`. */
export async function gatherKeys(
  clients: readonly ClientDraft[],
  problems: Problem[],
): Promise<ReadonlyMap<ClientDraft, readonly ClientKey[]>> {
  const owners = new Map<string, Owner>();
  const keys = new Map<ClientDraft, ClientKey[]>();
  for (const client of clients) {
    const own: ClientKey[] = [];
    for (const { value: publicKey, place } of client.keys) {
      const owner = owners.get(keyId(publicKey));
      if (owner !== undefined) {
        const whose = owner.client === client ? 'for the same client' : `for client "${owner.client.name}"`;
        problems.push(
          problemAt(
            place,
            `this key stands already ${whose} at ${formatPlace(owner.place)}`,
            'one key belongs to one client: remove one of them',
          ),
        );
        continue;
      }
      owners.set(keyId(publicKey), { client, place });
      own.push({ publicKey, fingerprint: fingerprint(publicKey), expiresAtMs: undefined, from: undefined });
    }
    keys.set(client, own);
  }
  for (const client of clients) {
    if (client.keysFile !== undefined)
      keys.get(client)?.push(...(await fromKeysFile(client, client.keysFile.value, client.keysFile.place, owners, problems)));
  }
  return keys;
}

async function fromKeysFile(
  client: ClientDraft,
  file: string,
  place: Place,
  owners: Map<string, Owner>,
  problems: Problem[],
): Promise<readonly ClientKey[]> {
  let warnings = 0;
  const warn = (where: Place, message: string, cure: string): void => {
    problems.push(problemAt(where, message, cure, 'warning'));
  };
  const warnOfLine = (where: Place, message: string, cure: string): void => {
    warnings += 1;
    if (warnings <= MAX_WARNINGS_OF_A_FILE) warn(where, message, cure);
  };
  const read = await readTrustedFile(file, 'foreign', MAX_KEYS_FILE_BYTES);
  if (!read.ok) {
    const cure = read.code === 'EACCES' ? 'a home with mode 0700 is closed to the daemon: write the keys into this rule file' : read.cure;
    warn(place, `client "${client.name}" has no keys from its keys_file: ${read.why}`, cure);
    return [];
  }
  const keys: ClientKey[] = [];
  let left = 0;
  for (const line of parseAuthorizedKeys(read.bytes.toString('utf8'))) {
    const where = { file, line: line.line, column: 1 };
    if (line.kind === 'skipped') {
      warnOfLine(where, `this line is skipped for client "${client.name}": ${line.why}`, 'correct it, or leave it to sshd alone');
      continue;
    }
    const id = keyId(line.publicKey);
    const owner = owners.get(id);
    if (owner?.client === client) continue;
    if (owner !== undefined) {
      warnOfLine(
        where,
        `this key is skipped: it stands already for client "${owner.client.name}" at ${formatPlace(owner.place)}`,
        'one key belongs to one client',
      );
      continue;
    }
    if (keys.length >= MAX_KEYS_OF_A_FILE) {
      left += 1;
      continue;
    }
    owners.set(id, { client, place: where });
    keys.push({ ...asClientKey(line.publicKey, line), ...(line.from === undefined ? {} : { place: where }) });
  }
  const untold = warnings - MAX_WARNINGS_OF_A_FILE;
  if (untold > 0) warn(place, `${safeText(file)} holds ${untold} more lines that are skipped`, 'look through that file');
  if (left > 0)
    warn(place, `${safeText(file)} holds ${left} more ssh-ed25519 keys than the ${MAX_KEYS_OF_A_FILE} that count`, 'remove old ones');
  if (keys.length === 0 && client.keys.length === 0)
    warn(place, `client "${client.name}" has no usable key in ${safeText(file)}`, 'add an ssh-ed25519 line');
  return keys;
}

function asClientKey(publicKey: PublicKey, limits: Pick<ClientKey, 'expiresAtMs' | 'from'>): ClientKey {
  return { publicKey, fingerprint: fingerprint(publicKey), expiresAtMs: limits.expiresAtMs, from: limits.from };
}
