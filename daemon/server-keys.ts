// Reads the server's private keys. They stay in memory only, and no message ever shows more than their path.

import type { SecretKey } from '../protocol/identity.ts';
import { parsePrivateKey } from '../protocol/openssh.ts';
import type { Config } from './config/config.ts';
import { readTrustedFile } from './config/trusted-file.ts';
import { type Problem, problemAt } from './problem.ts';

/** An OpenSSH key file of one key is under 1 KiB; RSA ones, which we refuse by name, are larger. */
const MAX_KEY_FILE_BYTES = 64 * 1024;

export type ServerKeys = { readonly secrets: readonly SecretKey[]; readonly problems: readonly Problem[] };

/** All keys that the configuration names, or every reason why one cannot be used. */
export async function readServerKeys(config: Pick<Config, 'file' | 'serverKeys'>): Promise<ServerKeys> {
  const secrets: SecretKey[] = [];
  const problems: Problem[] = [];
  for (const path of config.serverKeys) {
    const place = { file: path, line: 1, column: 1 };
    const read = await readTrustedFile(path, 'secret', MAX_KEY_FILE_BYTES);
    if (!read.ok) {
      problems.push(
        problemAt(place, read.why, read.code === 'ENOENT' ? 'run "posternd init" to make one, or correct "server_key"' : read.cure),
      );
      continue;
    }
    const key = parsePrivateKey(read.bytes.toString('latin1'));
    read.bytes.fill(0);
    switch (key.kind) {
      case 'key':
        secrets.push(key.secret);
        break;
      case 'passphrase-needed':
      case 'wrong-passphrase':
        problems.push(problemAt(place, 'the server key has a passphrase, and a daemon cannot type one', `run: ssh-keygen -p -f ${path}`));
        break;
      case 'refused':
        problems.push(problemAt(place, key.why, 'the server key is an OpenSSH Ed25519 private key: "posternd init" makes one'));
        break;
    }
  }
  return { secrets, problems };
}
