// The version of this build, as package.json has it.
import { readFileSync } from 'node:fs';

export const VERSION: string = readVersion();

function readVersion(): string {
  // dist/daemon/version.js, two folders below package.json.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
