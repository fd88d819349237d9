// What is allowed to stand in the rules and is most likely not meant: nobody can knock, or an entry that decides nothing. Pure.
import { contains } from '../../protocol/address.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import { formatPortRange } from '../../protocol/ports.ts';
import type { Config } from '../config/config.ts';
import { countPorts, coveredBy, networksOverlap } from '../config/ranges.ts';
import { decideDefaults } from '../policy/match.ts';
import { formatPlace, type Problem, problemAt } from '../problem.ts';
import { MAX_PORTS_AT_ONCE } from './limits.ts';
import { overlapWarnings } from './overlaps.ts';
import type { Placed, RuleFileDraft } from './read-rule-file.ts';
import type { AllowEntry, Client, RuleBook } from './rulebook.ts';
import { holdsWithin, type TimeWindow } from './time-window.ts';

type Settings = Pick<Config, 'protect' | 'rules' | 'trusted' | 'maxGrants'>;
type Warn = (place: Problem['place'], message: string, cure: string) => void;

// Tunable. A window that comes later than this is not looked for.
const LOOK_AHEAD_MS = 31 * 86_400_000;

/** `whole`: everything could be read, so that who is missing is really missing. */
export function ruleWarnings(
  book: RuleBook,
  files: readonly RuleFileDraft[],
  config: Settings,
  now: UnixMs,
  whole: boolean,
): readonly Problem[] {
  const out: Problem[] = [];
  const warn: Warn = (place, message, cure) => out.push(problemAt(place, message, cure, 'warning'));
  const comes = windowSearch(now);
  for (const client of book.clients) {
    if (whole && client.enabled && client.allow.length === 0)
      warn(client.place, `nothing is allowed for client "${client.name}"`, 'add an allow entry');
    if (!lives(client.expiresAtMs, now)) {
      warn(client.place, `client "${client.name}" has expired`, 'set a later date or remove it');
    } else if (client.keys.length > 0 && !client.keys.some((key) => lives(key.expiresAtMs, now))) {
      warn(client.place, `every key of client "${client.name}" has expired`, 'add a key, or a later expiry-time');
    }
    warnOfNeverFor(client, comes, now, warn);
    warnOfTooMuch(client, config, warn);
  }
  const byName = new Map(book.clients.map((client) => [client.name, client]));
  for (const file of files) {
    if (file.allow.length > 0 && file.clients.length + file.refs.length === 0) {
      warn(file.allow[0]?.place, 'the allow entries of this file hold for nobody', 'add clients, or "- ref: NAME", or remove the file');
    }
    for (const ref of file.refs) warnOfReference(ref, byName.get(ref.value), now, warn);
    for (const entry of file.allow) warnOfNoEffect(entry, config, warn);
  }
  out.push(...overlapWarnings(whole ? book : { clients: [] }, files));
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
  return (
    client.enabled && lives(client.expiresAtMs, now) && client.allow.length > 0 && client.keys.some((key) => lives(key.expiresAtMs, now))
  );
}

function lives(end: UnixMs | undefined, now: UnixMs): boolean {
  return end === undefined || end > now;
}

/** What it gives is open anyway, to everybody or to those whom it is for. */
function warnOfNoEffect(entry: AllowEntry, config: Settings, warn: Warn): void {
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
  const trusting = (entry.from ?? []).map((network) =>
    config.trusted.find((outer) => outer.prefix <= network.prefix && contains(outer, network.address)),
  );
  const [first] = trusting;
  if (first === undefined || trusting.includes(undefined)) return;
  const where = first.place === undefined ? '' : ` at ${formatPlace(first.place)}`;
  warn(
    entry.place,
    `from names only networks that are trusted (${first.text}${where}): they are never gated, and need no entry`,
    'remove this entry, or take the networks out of trusted:',
  );
}

function warnOfReference({ value, place }: Placed<string>, client: Client | undefined, now: UnixMs, warn: Warn): void {
  if (client === undefined) return; // an error already
  const why = !client.enabled ? 'is disabled' : lives(client.expiresAtMs, now) ? undefined : 'has expired';
  if (why !== undefined)
    warn(
      place,
      `client "${value}" ${why} at ${formatPlace(client.place)}: this reference gives nothing`,
      'remove it, or enable the client',
    );
}

/** Entries that no knock of this client can ever match: from nowhere, or at no time. */
function warnOfNeverFor(client: Client, comes: WindowSearch, now: UnixMs, warn: Warn): void {
  const bound = client.keys.every(({ from }) => from !== undefined) ? client.keys.filter((key) => lives(key.expiresAtMs, now)) : [];
  for (const entry of client.allow) {
    const { from } = entry;
    const [key] = bound;
    if (
      key !== undefined &&
      from !== undefined &&
      !bound.some((each) => (each.from ?? []).some((a) => from.some((b) => networksOverlap(a, b))))
    ) {
      const where = key.place === undefined ? '' : ` at ${formatPlace(key.place)}`;
      const message = `client "${client.name}" can never use this entry: from shares no address with the from= of its key${where}`;
      warn(entry.place, message, 'correct one of them');
    }
    const end = client.expiresAtMs;
    if (entry.when !== undefined && end !== undefined && lives(end, now) && end - now < LOOK_AHEAD_MS && !comes(entry.when, end)) {
      const message = `client "${client.name}" (${formatPlace(client.place)}) expires before this time window comes`;
      warn(entry.place, message, 'set a later date, or another window');
    }
  }
}

/** A knock that names nothing asks for all that is given by default, and gets all of it or nothing. */
function warnOfTooMuch(client: Client, { maxGrants }: Settings, warn: Warn): void {
  const always = client.allow.filter((entry) => entry.byDefault && entry.from === undefined && entry.when === undefined);
  const given = decideDefaults({ ...client, allow: always });
  const ports = countPorts(given.flatMap(({ service }) => service.ports));
  const refused = `client "${client.name}" is refused whenever its knock names nothing`;
  const places = [...new Set(given.map(({ entry }) => formatPlace(entry.place)))].join(' and ');
  const cure = 'write default: false for some';
  if (given.length > maxGrants) {
    warn(client.place, `${refused}: ${places} give ${given.length} services, and max_grants is ${maxGrants}`, cure);
  } else if (ports > MAX_PORTS_AT_ONCE) {
    warn(client.place, `${refused}: ${places} give ${ports} ports, more than the ${MAX_PORTS_AT_ONCE} of one knock`, cure);
  }
}

type WindowSearch = (window: TimeWindow, until: UnixMs) => boolean;

/** Remembers, as the same window stands for many clients: those who have more time than another found enough are not looked at again. */
function windowSearch(now: UnixMs): WindowSearch {
  const known = new Map<string, { enough: number; tooLittle: number }>();
  return (window, until) => {
    const key = JSON.stringify(window);
    const bounds = known.get(key) ?? { enough: Number.POSITIVE_INFINITY, tooLittle: now };
    known.set(key, bounds);
    if (until >= bounds.enough) return true;
    if (until <= bounds.tooLittle) return false;
    const comes = holdsWithin(window, unixMs(now), until);
    if (comes) bounds.enough = until;
    else bounds.tooLittle = until;
    return comes;
  };
}
