// known_hosts: after a line with a host and a port comes the file. No key is given that does not stand in a line of its own; a revoked one never is.

import { secretFromSeed } from '../../../protocol/identity.ts';
import { findHostKeys, matchesPattern } from '../../../protocol/known-hosts.ts';
import { formatPublicLine } from '../../../protocol/openssh.ts';
import { hold } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

const KEY = formatPublicLine(secretFromSeed(new Uint8Array(32).fill(3)).publicKey, '');
const OTHER = formatPublicLine(secretFromSeed(new Uint8Array(32).fill(4)).publicKey, '');

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('utf8');
  const end = text.indexOf('\n');
  const [host = '', portText = '22'] = text.slice(0, Math.max(0, end)).split(' ');
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : 22;
  const file = text.slice(end + 1);
  const found = findHostKeys(file, host, port);
  holdPattern(host, file.slice(0, 40));
  const lines = file.split('\n');
  if (found.kind === 'keys' || found.kind === 'revoked') {
    for (const key of found.keys) {
      const base64 = formatPublicLine(key, '').split(' ')[1] ?? '';
      const standing = lines.filter((line) => line.includes(base64));
      hold(standing.length > 0, 'a key that is not in the file');
      if (found.kind === 'revoked')
        hold(
          standing.some((line) => line.trim().startsWith('@revoked')),
          'called revoked',
        );
      // Whatever else it says, a line for this very name revokes.
      const name = port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
      const isPlain = /^[a-z0-9.[\]:-]+$/.test(name);
      if (found.kind === 'keys' && isPlain)
        hold(!lines.some((line) => `${line.trim()} `.startsWith(`@revoked ${name} ssh-ed25519 ${base64} `)), 'a revoked key is given');
    }
  }
  return found.kind;
}

/** Against a regular expression made of the same pattern; short ones only, such an expression can take for ever. */
function holdPattern(name: string, pattern: string): void {
  const [short, shown] = [pattern.slice(0, 8), name.slice(0, 12)];
  const expression = new RegExp(
    `^${short
      .replace(/[.+^${}()|[\]\\/-]/g, '\\$&')
      .replaceAll('*', '[^]*')
      .replaceAll('?', '[^]')}$`,
  );
  hold(matchesPattern(short, shown) === expression.test(shown), () => `pattern ${JSON.stringify(short)} and ${JSON.stringify(shown)}`);
}

export const target: FuzzTarget = {
  about: 'known_hosts',
  covers: ['protocol/known-hosts.ts'],
  kind: 'text',
  maxBytes: 2000,
  seeds: [
    `web1 22\nweb1,192.0.2.7 ${KEY}\n# x\n[web1]:2222 ${OTHER}\n`,
    `web1 2222\n*1,!web* ${KEY}\n[web?]:2222 ${KEY}\n@revoked * ${OTHER}\n@cert-authority * ${KEY}\n`,
    `web1 22\nweb1 ssh-rsa AAAAB3NzaC1yc2E=\nweb1 ecdsa-sha2-nistp256 AAAA\n`,
    `web1 22\n@revoked web1 ${KEY}\nweb1 ${KEY}\n`,
    `web1 22\n|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|1CY0kJhbQzKP4DAnHnXQXF4sLgM= ${KEY}\n`,
  ],
  dictionary: [KEY, OTHER, 'web1', '|1|', '@revoked ', '*', '!', '[web1]:2222', 'ssh-ed25519 '],
  run,
  mustReach: ['keys', 'revoked', 'only-other-types', 'none'],
};
