// The profiles of a laboratory's person, line by line as `knock add` writes them: the laboratory itself writes them in braces, which the client reads
// with the YAML parser, and users would not.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';

export function writePlainProfiles(home: string): void {
  const file = join(home, '.config', 'knock', 'config.yaml');
  writeFileSync(file, stringify(parse(readFileSync(file, 'utf8')), { lineWidth: 0 }));
}
