// Whose clock a knock is signed by (`--time`, or `time:` in a profile), and how a difference of clocks is said. Parses only.
import { type Parsed, parsed, unparsed } from '../protocol/brand.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from './endpoint.ts';
import { quote } from './quote.ts';

export type TimeSource =
  | { readonly kind: 'system' }
  | { readonly kind: 'https'; readonly url: URL }
  | { readonly kind: 'sntp'; readonly server: Endpoint };

/** What is known of this machine's clock. `offsetMs`: add it to this machine's time to get the source's. */
export type Clock =
  | { readonly kind: 'system' }
  | { readonly kind: 'measured'; readonly offsetMs: number; readonly uncertaintyMs: number; readonly source: string }
  | { readonly kind: 'unknown'; readonly why: string };

// RFC 5905: the port of NTP.
const SNTP_PORT = 123;

/** Reads `system`, `https://HOST/…` or `sntp:SERVER`. */
export function parseTimeSource(text: string): Parsed<TimeSource> {
  if (text === 'system') return parsed({ kind: 'system' });
  if (text.startsWith('sntp:')) {
    const server = parseEndpoint(text.slice('sntp:'.length), SNTP_PORT, 'a time server');
    return server.ok ? parsed({ kind: 'sntp', server: server.value }) : server;
  }
  if (/^http:/i.test(text)) return unparsed('a clock over http: can be forged by anybody on the way: write https:');
  const url = /^https:\/\/[^/]/i.test(text) ? parsedUrl(text) : undefined;
  if (url === undefined) return unparsed(`not a clock: ${quote(text)} (write system, https://HOST or sntp:SERVER)`);
  if (url.username !== '' || url.password !== '') return unparsed('the URL of a clock holds no user and no password');
  return parsed({ kind: 'https', url });
}

export function formatTimeSource(source: TimeSource): string {
  switch (source.kind) {
    case 'system':
      return 'system';
    case 'https':
      return quote(`https://${source.url.host}`).slice(1, -1);
    case 'sntp':
      return quote(`sntp:${formatEndpoint(source.server)}`).slice(1, -1);
  }
}

/** How much is added to this machine's time: nothing when the source cannot tell the two apart. */
export function correctionMs(clock: Clock): number {
  return clock.kind === 'measured' && Math.abs(clock.offsetMs) > clock.uncertaintyMs ? Math.round(clock.offsetMs) : 0;
}

/** `2 h 3 min behind`, `75 s ahead of`: where this machine's clock is, seen from the source. */
export function offsetText(offsetMs: number): string {
  return `${spanText(Math.abs(offsetMs))} ${offsetMs >= 0 ? 'behind' : 'ahead of'}`;
}

/** Two units, the largest first. */
function spanText(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const [large, small, size] = seconds < 7200 ? ['min', 's', 60] : seconds < 172_800 ? ['h', 'min', 3600] : ['days', 'h', 86_400];
  const whole = Math.floor(seconds / size);
  const rest = Math.floor((seconds - whole * size) / (size / (large === 'days' ? 24 : 60)));
  return rest === 0 ? `${whole} ${large}` : `${whole} ${large} ${rest} ${small}`;
}

function parsedUrl(text: string): URL | undefined {
  // URL.canParse is younger than Node 20's first releases.
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
