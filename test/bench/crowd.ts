// Ten thousand people: keys that follow from a number, and the rule files that know them. The same crowd in each run.
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';

/** What a knock that names nothing opens: this many grants. */
export const SERVICES_BY_DEFAULT = 10;
export const FIRST_PORT = 9000;
/** Only by name: what the time of a knock is measured with. */
export const TIMED_PORT = 8022;
/** Knocks of one person in a minute: the default. */
export const SLOTS = 16;

export function personKey(number: number): SecretKey {
  return secretFromSeed(createHash('sha256').update(`person ${number}`).digest());
}

/** Fills the folder with `files` rule files that name `people` clients in all. */
export function writeCrowd(folder: string, people: number, files: number, { from = 0, slots = SLOTS } = {}): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const each = Math.ceil(people / files);
  for (let file = 0; file < files; file += 1) {
    const lines = [`name: team ${file}`, 'clients:'];
    for (let number = file * each; number < Math.min(people, (file + 1) * each); number += 1) {
      lines.push(`  - name: person-${number}`, `    key: ${formatPublicLine(personKey(from + number).publicKey, `person-${number}`)}`);
      if (slots !== SLOTS) lines.push(`    slots: ${slots}`);
    }
    const services = Array.from({ length: SERVICES_BY_DEFAULT }, (_, at) => `tcp/${FIRST_PORT + at}`);
    lines.push('allow:', `  - services: [${services.join(', ')}]`, '    ttl: 30s', '    max_ttl: 1h');
    lines.push(`  - services: [tcp/${TIMED_PORT}]`, '    default: false', '    ttl: 2s', '    max_ttl: 1h');
    writeFileSync(join(folder, `team-${String(file).padStart(5, '0')}.yaml`), `${lines.join('\n')}\n`);
  }
}

/** A source address for each knock: 10.64.0.0/10 in the order of their numbers. */
export function crowdAddress(number: number): string {
  return `10.${64 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
}
