// What a SERVICE on the command line asks for, and which TCP ports can be tried to see whether the door opened.
// The table of names only helps the check: names travel to the server as names, and the server says what they mean.
import { type Parsed, parsed, unparsed } from '../protocol/brand.ts';
import { type Request, SERVICE_NAME } from '../protocol/knock.ts';
import { coversPorts, formatPortRange, type PortRange, parsePortRange } from '../protocol/ports.ts';
import { quote } from './quote.ts';

// Fixed by SPEC.md: at most 16 requests in a knock.
export const MAX_REQUESTS = 16;

// Tunable. Not /etc/services: it does not exist everywhere, and a name must mean the same on each client.
const WELL_KNOWN_TCP: Readonly<Record<string, number>> = {
  ftp: 21,
  ssh: 22,
  telnet: 23,
  smtp: 25,
  http: 80,
  pop3: 110,
  imap: 143,
  ldap: 389,
  https: 443,
  smb: 445,
  submissions: 465,
  submission: 587,
  ldaps: 636,
  rsync: 873,
  imaps: 993,
  pop3s: 995,
  mssql: 1433,
  mqtt: 1883,
  mysql: 3306,
  rdp: 3389,
  postgres: 5432,
  postgresql: 5432,
  vnc: 5900,
  redis: 6379,
  kubernetes: 6443,
};

/** A TCP port that shows whether a knock worked. `guessed`: nobody named a service, so this is only the likeliest one. */
export type ProbePort = { readonly port: number; readonly service: string; readonly guessed: boolean };

/** What can be tried, and for each thing that cannot, why not. `once`: each connection is one that a grant admits; none is to be wasted. */
export type ProbePlan = { readonly ports: readonly ProbePort[]; readonly unprobed: readonly string[]; readonly once: boolean };

/** What a server offers, as its invitation said. A service without a name stands under its ports. */
export type Offer = { readonly name: string; readonly ports: readonly PortRange[]; readonly once: boolean; readonly byDefault: boolean };

/** The names that this machine can say a port for, to offer them. */
export function serviceNames(): readonly { readonly name: string; readonly port: number }[] {
  return Object.entries(WELL_KNOWN_TCP).map(([name, port]) => ({ name, port }));
}

/** Reads `ssh`, `tcp/8443`, `udp/51820` or `tcp/9000-9010`. */
export function parseRequest(text: string): Parsed<Request> {
  if (/^(tcp|udp)\//.test(text)) {
    const ports = parsePortRange(text);
    return ports.ok ? parsed({ kind: 'ports', ports: ports.value }) : unparsed(shorten(ports.why, text));
  }
  if (SERVICE_NAME.test(text) && !/^\d+$/.test(text)) return parsed({ kind: 'service', name: text });
  if (/^\d+(-\d+)?$/.test(text)) return unparsed(`not a service: ${quote(text)}: write tcp/${text} or udp/${text}`);
  return unparsed(`not a service: ${quote(text)} (write a name of a-z, 0-9 and -, tcp/8443, udp/51820 or tcp/9000-9010)`);
}

/** Reads all of them; every mistake is reported. Repetitions are dropped. */
export function parseRequests(texts: readonly string[]): { readonly requests: readonly Request[]; readonly problems: readonly string[] } {
  const results = [...new Set(texts)].map(parseRequest);
  const requests = results.flatMap((result) => (result.ok ? [result.value] : []));
  const problems = results.flatMap((result) => (result.ok ? [] : [result.why]));
  if (results.length > MAX_REQUESTS) problems.push(`at most ${MAX_REQUESTS} services fit into one knock: ${results.length} were given`);
  return { requests, problems };
}

export function formatRequest(request: Request): string {
  return request.kind === 'service' ? request.name : formatPortRange(request.ports);
}

/**
 * `ssh` where ssh's configuration names another port: that port by its number, since the server may know it under another name.
 * (A rule that gives it by a name gives it by its number too.)
 */
export function atSshPort(requests: readonly Request[], sshPort: number): readonly Request[] {
  if (sshPort === WELL_KNOWN_TCP['ssh']) return requests;
  return requests.map((request) =>
    request.kind === 'service' && request.name === 'ssh'
      ? { kind: 'ports', ports: { protocol: 'tcp', first: sshPort, last: sshPort } }
      : request,
  );
}

/** Which ports the check tries. With no request the server decides what opens: what it offers by default, else ssh, is the best guess. */
export function planProbes(requests: readonly Request[], sshPort: number, offers: readonly Offer[]): ProbePlan {
  if (requests.length === 0) return guessProbe(sshPort, offers);
  const ports = new Map<number, ProbePort>();
  const unprobed: string[] = [];
  for (const request of requests) {
    const port = probePort(request, offers);
    if (typeof port === 'number') ports.set(port, { port, service: formatRequest(request), guessed: false });
    else unprobed.push(`${formatRequest(request)}: ${port.why}`);
  }
  return {
    ports: [...ports.values()],
    unprobed,
    once: requests.some((request) => offers.some((offer) => offer.once && isFor(offer, request))),
  };
}

function guessProbe(sshPort: number, offers: readonly Offer[]): ProbePlan {
  const given = offers.filter((offer) => offer.byDefault);
  const once = given.some((offer) => offer.once);
  if (given.length === 0) return { ports: [{ port: sshPort, service: `tcp/${sshPort}`, guessed: true }], unprobed: [], once };
  // One stands for all: an entry for another network or another time may give less than all of them. The only one is no guess.
  const [probe] = given.flatMap((offer) => {
    const port = tcpPortOf(offer);
    return port === undefined ? [] : [{ port, service: given.length === 1 ? offer.name : `tcp/${port}`, guessed: given.length > 1 }];
  });
  if (probe !== undefined) return { ports: [probe], unprobed: [], once };
  return { ports: [], unprobed: given.map((offer) => `${offer.name}: UDP does not answer`), once };
}

function probePort(request: Request, offers: readonly Offer[]): number | { readonly why: string } {
  if (request.kind === 'service') {
    const offer = offers.find(({ name }) => name === request.name);
    if (offer !== undefined) return tcpPortOf(offer) ?? { why: 'UDP does not answer' };
    return WELL_KNOWN_TCP[request.name] ?? { why: whyUnknown(offers) };
  }
  // Of a range, the first port stands for all: trying each would look like a scan.
  if (request.ports.protocol === 'tcp') return request.ports.first;
  return { why: 'UDP does not answer' };
}

/** A name that the invitation does not have is a slip more often than not. */
function whyUnknown(offers: readonly Offer[]): string {
  const known = 'only the server knows its port';
  if (offers.length === 0) return known;
  const names = offers.slice(0, 8).map(({ name }) => name);
  return `${known} (the invitation offers ${names.join(', ')}${offers.length > names.length ? ' and others' : ''})`;
}

function tcpPortOf(offer: Offer): number | undefined {
  return offer.ports.find((range) => range.protocol === 'tcp')?.first;
}

function isFor(offer: Offer, request: Request): boolean {
  return request.kind === 'service' ? offer.name === request.name : offer.ports.some((range) => coversPorts(range, request.ports));
}

// protocol/ports.ts repeats the text as it was typed: cut it here, where it is shown.
function shorten(why: string, text: string): string {
  return text.length > 40 ? `not a port: ${quote(text.slice(0, 40))}…` : why;
}
