// What may stand under one profile of the client's configuration, and what it means. Reads plain values, from whichever reader they come:
// it must stay cheap to load, so YAML has no place here.
import { type Parsed, parsed, unparsed } from '../protocol/brand.ts';
import { parseDuration } from '../protocol/duration.ts';
import type { PublicKey } from '../protocol/identity.ts';
import type { Request } from '../protocol/knock.ts';
import { parsePublicLine } from '../protocol/openssh.ts';
import { parsePortRange } from '../protocol/ports.ts';
import type { Endpoint } from './endpoint.ts';
import { quote } from './quote.ts';
import { type Offer, parseRequest } from './services.ts';
import { parseSource, parseStunServer, type SourceMode } from './source.ts';
import { parseTimeSource, type TimeSource } from './time-source.ts';

/** What the user keeps about one server. Everything but the name can be left out. */
export type Profile = {
  host?: string;
  serverKey?: PublicKey;
  identity?: string;
  port?: number;
  services?: readonly string[];
  ttlSeconds?: number;
  source?: SourceMode;
  stunServer?: Endpoint;
  time?: TimeSource;
  pskFile?: string;
  slots?: number;
  /** What the server offers, as its invitation said. */
  offers?: readonly Offer[];
};

// A name must not look like an option or a path, and must be typed without quoting.
export const PROFILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
// Fixed by SPEC.md: a lifetime is a u32 of seconds.
const MAX_LIFETIME_SECONDS = 0xffff_ffff;

type Field = (value: unknown, profile: Profile) => string | undefined;

/** Each key of a profile: stores the value and gives nothing, or gives one sentence about what is wrong. */
export const FIELDS: Readonly<Record<string, Field>> = {
  host: (value, profile) => store(text(value), (host) => (profile.host = host)),
  server_key: (value, profile) => store(serverKey(value), (key) => (profile.serverKey = key)),
  identity: (value, profile) => store(text(value), (path) => (profile.identity = path)),
  port: (value, profile) => store(integer(value, 1, 65535), (port) => (profile.port = port)),
  services: (value, profile) => store(services(value), (names) => (profile.services = names)),
  ttl: (value, profile) => store(lifetime(value), (seconds) => (profile.ttlSeconds = seconds)),
  source: (value, profile) => store(chain(text(value), parseSource), (source) => (profile.source = source)),
  stun_server: (value, profile) => store(chain(text(value), parseStunServer), (server) => (profile.stunServer = server)),
  time: (value, profile) => store(chain(text(value), parseTimeSource), (time) => (profile.time = time)),
  psk_file: (value, profile) => store(text(value), (path) => (profile.pskFile = path)),
  slots: (value, profile) => store(integer(value, 1, 64), (slots) => (profile.slots = slots)),
  offers: (value, profile) => store(offers(value), (found) => (profile.offers = found)),
};

function store<T>(result: Parsed<T>, keep: (value: T) => void): string | undefined {
  if (!result.ok) return result.why;
  keep(result.value);
  return undefined;
}

function chain<A, B>(first: Parsed<A>, next: (value: A) => Parsed<B>): Parsed<B> {
  return first.ok ? next(first.value) : first;
}

function text(value: unknown): Parsed<string> {
  if (typeof value !== 'string' || value === '') return unparsed('expected a text');
  return /\p{Cc}/u.test(value) ? unparsed('control characters do not belong here') : parsed(value);
}

function integer(value: unknown, least: number, most: number): Parsed<number> {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
    ? parsed(value)
    : unparsed(`expected a whole number from ${least} to ${most}`);
}

function serverKey(value: unknown): Parsed<PublicKey> {
  return chain(chain(text(value), parsePublicLine), (line) => parsed(line.publicKey));
}

function services(value: unknown): Parsed<readonly string[]> {
  if (!Array.isArray(value) || value.length === 0 || value.length > 16)
    return unparsed('expected a list such as [ssh, tcp/8443], 1 to 16 long');
  for (const item of value) {
    const request = chain(text(item), parseRequest);
    if (!request.ok) return request;
  }
  return parsed(value.map(String));
}

/** `admin: { ports: [tcp/8443], once: true, default: true }`; a service without a name stands under its ports (`tcp/9000: {}`). */
function offers(value: unknown): Parsed<readonly Offer[]> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return unparsed('expected an entry such as "admin: { ports: [tcp/8443] }"');
  const found: Offer[] = [];
  for (const [name, fields] of Object.entries(value as Readonly<Record<string, unknown>>)) {
    const offer = chain(parseRequest(name), (request) => oneOffer(name, request, fields));
    if (!offer.ok) return offer;
    found.push(offer.value);
  }
  return parsed(found);
}

function oneOffer(name: string, request: Request, value: unknown): Parsed<Offer> {
  const fields = (value ?? {}) as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(fields).find((key) => !['ports', 'once', 'default'].includes(key));
  if (typeof fields !== 'object' || unknown !== undefined) return unparsed(`${quote(name)} holds ports, once and default only`);
  const { ports = [], once = false, default: byDefault = false } = fields;
  if (!Array.isArray(ports) || typeof once !== 'boolean' || typeof byDefault !== 'boolean')
    return unparsed(`${quote(name)}: ports is a list such as [tcp/8443], once and default are true or false`);
  const ranges = ports.map((each) => chain(text(each), parsePortRange));
  const wrong = ranges.find((range) => !range.ok);
  if (wrong !== undefined && !wrong.ok) return wrong;
  const own = request.kind === 'ports' ? [request.ports] : [];
  return parsed({ name, ports: [...own, ...ranges.flatMap((range) => (range.ok ? [range.value] : []))], once, byDefault });
}

function lifetime(value: unknown): Parsed<number> {
  const seconds = chain(text(value), parseDuration);
  if (!seconds.ok) return typeof value === 'number' ? unparsed('a duration has a unit: 30s, 10m, 2h') : seconds;
  return seconds.value >= 1 && seconds.value <= MAX_LIFETIME_SECONDS ? seconds : unparsed('must be at least 1s');
}
