// What is allowed to stand in the rules and is most likely not meant: nobody can knock, or an entry that decides nothing. Pure.
import type { UnixMs } from '../../protocol/brand.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import type { Config } from '../config/config.ts';
import { coveredBy } from '../config/ranges.ts';
import { type Problem, problemAt } from '../problem.ts';
import type { RuleFileDraft } from './read-rule-file.ts';
import type { AllowEntry, Client, RuleBook } from './rulebook.ts';

/** `whole`: everything could be read, so that who is missing is really missing. */
export function ruleWarnings(
  book: RuleBook,
  files: readonly RuleFileDraft[],
  config: Pick<Config, 'protect' | 'rules'>,
  now: UnixMs,
  whole: boolean,
): readonly Problem[] {
  const out: Problem[] = [];
  const warn = (place: Problem['place'], message: string, cure: string): void => {
    out.push(problemAt(place, message, cure, 'warning'));
  };
  for (const client of book.clients) {
    if (whole && client.enabled && client.allow.length === 0)
      warn(client.place, `nothing is allowed for client "${client.name}"`, 'add an allow entry');
    if (client.expiresAtMs !== undefined && client.expiresAtMs <= now) {
      warn(client.place, `client "${client.name}" has expired`, 'set a later date or remove it');
    }
  }
  for (const file of files) {
    if (file.allow.length > 0 && file.clients.length + file.refs.length === 0) {
      warn(file.allow[0]?.place, 'the allow entries of this file hold for nobody', 'add clients, or "- ref: NAME"');
    }
    file.allow.forEach((entry, index) => {
      for (const { name, ports } of entry.services) {
        const open = config.protect.length === 0 ? [] : ports.filter((range) => !coveredBy(config.protect, range));
        if (open.length === 0) continue;
        const which = open.map(formatPortRange).join(', ');
        warn(
          entry.place,
          `${name === which ? name : `${name} (${which})`} is not protected, so this entry opens nothing there`,
          'add it to protect: in the configuration',
        );
      }
      const earlier = file.allow.slice(0, index);
      const shadow = shadowOf(entry, earlier);
      if (shadow !== undefined) {
        warn(
          entry.place,
          `this entry is never reached: the one in line ${shadow.place.line} decides all that it gives`,
          'put it first, or remove it',
        );
      }
    });
  }
  if (whole && !book.clients.some((client) => isUsable(client, now))) {
    warn(
      undefined,
      `no client can knock: nobody could open a protected port`,
      `add a client with a key and an allow entry below ${config.rules}`,
    );
  }
  return out;
}

/** Whether any knock of this client could be let in at this moment, as far as the rules go. */
export function isUsable(client: Client, now: UnixMs): boolean {
  const lives = (end: UnixMs | undefined): boolean => end === undefined || end > now;
  return client.enabled && lives(client.expiresAtMs) && client.allow.length > 0 && client.keys.some((key) => lives(key.expiresAtMs));
}

/** The first earlier entry that takes every request for every service of `entry`; a knock that names nothing skips `default: false`. */
function shadowOf(entry: AllowEntry, earlier: readonly AllowEntry[]): AllowEntry | undefined {
  const before = earlier.filter((other) => other.byDefault || !entry.byDefault);
  const taken = (ports: readonly PortRange[]): AllowEntry | undefined =>
    before.find((other) => ports.every((range) => other.services.some((service) => coveredBy(service.ports, range))));
  const by = entry.services.map(({ ports }) => taken(ports));
  return by.every((other) => other !== undefined) ? by[0] : undefined;
}
