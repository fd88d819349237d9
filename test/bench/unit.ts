// What systemd/posternd.service gives the daemon: a benchmark measures the daemon as it is shipped.
import { readFileSync } from 'node:fs';

/** The unit's Environment lines: NODE_OPTIONS and the like. */
export function unitEnvironment(): Readonly<Record<string, string>> {
  const unit = readFileSync(new URL('../../../systemd/posternd.service', import.meta.url), 'utf8');
  return Object.fromEntries([...unit.matchAll(/^Environment="?(\w+)=([^"\n]*)"?$/gm)].map(([, name = '', value = '']) => [name, value]));
}
