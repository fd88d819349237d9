// Says what most likely went wrong when a door did not open, the likeliest first, with what to do. Pure: judges reports only.
import { fingerprint } from '../protocol/openssh.ts';
import { CommandError } from './command-error.ts';
import type { AddressReport, PortReport, Stopped } from './door.ts';
import { clockHint } from './explain-clock.ts';
import type { Prepared } from './prepare.ts';
import { quote } from './quote.ts';
import type { ServerKey } from './server-key.ts';
import type { Clock } from './time-source.ts';
import type { World } from './world.ts';

export type Circumstances = {
  readonly host: string;
  readonly knockPort: number;
  readonly timeoutMs: number;
  /** 0: any. */
  readonly sourcePort: number;
  readonly serverKeyOrigin: ServerKey['origin'];
  /** Of the server key that the knock was made for. */
  readonly serverFingerprint: string;
  /** The host that ssh goes through to this one (ProxyJump). */
  readonly jump: string | undefined;
  /** The public half of the identity, as `ssh-keygen -l` prints it. */
  readonly clientFingerprint: string;
  /** This machine's time, UTC, for comparison. */
  readonly nowText: string;
  readonly clock: Clock;
  /** What the host's web server says, if it was asked and says anything. */
  readonly hostClock: (Clock & { readonly kind: 'measured' }) | undefined;
};

/** `hostClock`: as `Circumstances` has it. */
export function circumstancesOf(
  { plan, serverKeyOrigin, jump, clock }: Prepared,
  hostClock: Circumstances['hostClock'],
  world: Pick<World, 'now'>,
): Circumstances {
  return {
    host: plan.host,
    knockPort: plan.knockPort,
    timeoutMs: plan.timeoutMs,
    sourcePort: plan.sourcePort,
    serverKeyOrigin,
    serverFingerprint: fingerprint(plan.pairing.server),
    jump,
    clock,
    hostClock,
    clientFingerprint: fingerprint(plan.secret.publicKey),
    nowText: new Date(world.now()).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
}

/** The error for a run in which no address opened everything. */
export function explainFailure(reports: readonly AddressReport[], about: Circumstances): CommandError {
  const sent = reports.reduce((sum, report) => sum + report.sent, 0);
  if (sent === 0) return explainUnsent(reports, about);
  const local = reports.flatMap((report) => report.ports).find((port) => port.localTrouble !== undefined && port.after !== 'open');
  if (local?.localTrouble !== undefined) return explainLocal(local.localTrouble, about);
  const best = reports.find((report) => report.ports.some((port) => port.after === 'open'));
  if (best !== undefined) return explainPartly(best, about);
  const refused = reports.find((report) => report.ports.some((port) => port.after === 'refused'));
  if (refused !== undefined) return explainRefused(refused, about);
  return explainSilence(reports, sent, about);
}

/** After a close: something goes on letting connections in. */
export function explainStillOpen(target: string, port: number): CommandError {
  return new CommandError(1, 'still-open', `tcp/${port} on ${target} still accepts connections after the close was sent`, [
    'it may be open for another reason: someone else behind this address, a trusted network, or a port that is not protected',
    'or the server did not accept the close (unknown key, wrong clock): on the server, "posternd log --since 10m" lists no "closed" then',
  ]);
}

/** Why nothing at all was sent. */
export function explainUnsent(reports: readonly AddressReport[], about: Circumstances): CommandError {
  const stops = reports.flatMap((report) => (report.stopped === undefined ? [] : [{ ...report, stopped: report.stopped }]));
  const first = stops.find((stop) => stop.stopped.kind !== 'system') ?? stops[0];
  if (first === undefined) return new CommandError(1, 'not-sent', `no knock was sent to ${quote(about.host)}`);
  return new CommandError(
    1,
    first.stopped.kind === 'system' ? systemWord(first.stopped.code) : first.stopped.kind,
    stopText(first.stopped, first.address.text, about),
  );
}

/** For scripts: what kind of trouble of this machine it is. */
function systemWord(code: string): string {
  return code === 'EPERM' || code === 'EACCES' ? 'blocked-here' : 'no-route';
}

function stopText(stopped: Stopped, target: string, about: Circumstances): string {
  switch (stopped.kind) {
    case 'source':
      return `${stopped.why}: use --source none if the rule allows it, or --source ADDRESS`;
    case 'no-slot':
      return `all knocks of this minute from this key to ${quote(about.host)} are used: try again in ${Math.ceil(stopped.nextWindowInMs / 1000)} s`;
    case 'system':
      return systemText(stopped.code, target);
  }
}

function systemText(code: string, target: string): string {
  switch (code) {
    case 'ENETUNREACH':
    case 'EHOSTUNREACH':
    case 'ENETDOWN':
      return `no route to ${target} (${code}): this machine's network does not lead there`;
    case 'EPERM':
    case 'EACCES':
      return `this machine does not let the knock out to ${target} (${code}): look at its own firewall`;
    case 'EADDRNOTAVAIL':
      return `this machine has no address to reach ${target} from (${code})`;
    default:
      return `the knock to ${target} could not be sent (${code})`;
  }
}

function explainPartly(report: AddressReport, about: Circumstances): CommandError {
  const open = report.ports.filter((port) => port.after === 'open').map((port) => port.service);
  const shut = report.ports.filter((port) => port.after !== 'open');
  const named = shut.map((port) => `${port.service} ${seenText(port)}`).join(', ');
  return new CommandError(1, 'partly-open', `${open.join(', ')} on ${report.address.text} opened, but ${named}: the knock was accepted`, [
    `is the service running? on ${quote(about.host)}: ss -ltn`,
    'another firewall on the server may keep it closed (ufw, firewalld): on the server: posternd check names the rule; or one on the way does',
  ]);
}

function explainRefused(report: AddressReport, about: Circumstances): CommandError {
  const port = report.ports.find((candidate) => candidate.after === 'refused');
  const name = `${port?.service ?? 'the port'} on ${report.address.text}`;
  const listens = `on ${quote(about.host)}: ss -ltn`;
  if (port?.before === 'silent') {
    return new CommandError(
      1,
      'service-down',
      `the door opened, but nothing listens behind it: ${name} was silent and now refuses connections`,
      [`start the service, and look ${listens}`],
    );
  }
  return new CommandError(1, 'refused', `${name} refuses connections, before the knock and after it`, [
    `the service may not be running: ${listens}`,
    'or the gate refuses by "refuse: reject" and the knock was not accepted; then:',
    ...silentCauses(report, about),
  ]);
}

function explainSilence(reports: readonly AddressReport[], sent: number, about: Circumstances): CommandError {
  const ports = reports.flatMap((report) => report.ports);
  const services = [...new Set(ports.map((port) => port.service))].join(', ');
  const guessed = ports.some((port) => port.guessed);
  const where = reports.map((report) => report.address.text).join(' and ');
  const knocks = sent === 1 ? 'one knock was' : `${sent} knocks were`;
  const hints = [
    ...(guessed ? [`no SERVICE was named, so ssh was tried: name what the rule opens, as in: knock ${about.host} tcp/8443`] : []),
    ...silentCauses(reports[0], about),
  ];
  if (ports.some((port) => port.after === 'unreachable'))
    hints.unshift('the network says that the host or the port cannot be reached: is it up?');
  return new CommandError(
    1,
    'not-open',
    `${services} on ${where} did not open within ${about.timeoutMs / 1000} s (${knocks} sent, the server never answers)`,
    hints,
  );
}

/** The knock went out, but this machine could not try the door. */
function explainLocal(code: string, about: Circumstances): CommandError {
  const from = about.sourcePort === 0 ? '' : ` from port ${about.sourcePort}`;
  const why: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another program uses it: choose another --source-port, or give --no-verify',
    EACCES: 'ports below 1024 need more rights: choose another --source-port',
  };
  const advice = why[code] ?? 'choose another --source-port or --via';
  return new CommandError(code === 'EACCES' ? 3 : 1, 'cannot-connect', `this machine cannot connect${from} (${code}): ${advice}`);
}

/** The silence of a server has many causes that look alike from here: this is their order by experience. */
function silentCauses(report: AddressReport | undefined, about: Circumstances): readonly string[] {
  // A knock that is not valid is junk to the server and stands in no log: an empty log is a finding too.
  const server = 'on the server, "posternd log --since 10m" says why; it lists nothing where the key is unknown or a cause below holds';
  const origin =
    about.serverKeyOrigin === 'known_hosts'
      ? ['the server key came from known_hosts: right only if posternd uses the SSH host key (else give --server-key)']
      : [`the server key is another one than ${about.serverFingerprint}: on the server, "posternd check" prints it`];
  const bound =
    report?.source?.kind === 'bound'
      ? [`the knock was bound to ${report.source.address.text}: behind an address translator, use --source none`]
      : [];
  const sourcePort =
    about.sourcePort === 0
      ? []
      : [`the knock asked for connections from port ${about.sourcePort} only: a NAT on the way may change that port`];
  const trouble =
    report?.trouble === 'ECONNREFUSED'
      ? [`udp/${about.knockPort} answers "closed": posternd may not be running (systemctl status posternd)`]
      : [];
  const jump =
    about.jump === undefined
      ? []
      : [
          `ssh goes to ${quote(about.host)} through ${quote(about.jump)} (ProxyJump), a knock does not: can this machine reach it directly?`,
        ];
  const clock = clockHint(about.clock, about.hostClock, about.host, about.nowText);
  return [
    ...(clock.likely ? [clock.text] : []),
    ...trouble,
    ...jump,
    `this key is not enrolled there, or may not open this service: ${about.clientFingerprint}; ${server}`,
    ...(clock.likely ? [] : [clock.text]),
    ...origin,
    ...bound,
    ...sourcePort,
    `UDP port ${about.knockPort} is blocked on the way, or posternd does not run: on the server: posternd status`,
    'or another firewall on the server (ufw, firewalld, a cloud provider) keeps the port closed: on the server: posternd check names the rule',
  ];
}

function seenText(port: PortReport): string {
  switch (port.after) {
    case 'refused':
      return 'refuses connections (nothing listens there)';
    case 'unreachable':
      return 'cannot be reached';
    default:
      return 'does not answer';
  }
}
