// A server that the user named for a question of ours (STUN, SNTP): HOST or HOST:PORT. Parses only.
import { isIPv6 } from 'node:net';
import { type Parsed, parsed, unparsed } from '../protocol/brand.ts';
import { quote } from './quote.ts';

export type Endpoint = { readonly host: string; readonly port: number };

const HOST = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$/;

/** Reads `stun.example.org`, `192.0.2.7:3478`, `2001:db8::7` and `[2001:db8::7]:3478`. `what` names it in the sentence about a mistake. */
export function parseEndpoint(text: string, defaultPort: number, what: string): Parsed<Endpoint> {
  if (isIPv6(text)) return parsed({ host: text, port: defaultPort });
  const [, bracketed, plain, portText] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? '';
  const port = portText === undefined ? defaultPort : Number(portText);
  const sound = bracketed === undefined ? HOST.test(host) : isIPv6(host);
  return sound && port >= 1 && port <= 65535
    ? parsed({ host, port })
    : unparsed(`not ${what}: ${quote(text)} (write HOST, HOST:PORT or [IPv6]:PORT)`);
}

/** As it can be typed again. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
