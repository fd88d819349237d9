// The links of `knock doctor` that lie between this machine and the host, for each address: route, the ports before the knock, knock, door.
import type { IpAddress } from '../protocol/address.ts';
import { type Circumstances, explainFailure, explainUnsent } from './diagnose.ts';
import type { Finding, Link, State } from './doctor-findings.ts';
import { failure } from './doctor-keys.ts';
import type { AddressReport } from './door.ts';
import { localAddressFor } from './local-address.ts';
import { openPath } from './path.ts';
import { isPortOpen, type Seen } from './port-watch.ts';
import { formatMs } from './report.ts';
import type { ProbePort } from './services.ts';
import { offsetText } from './time-source.ts';

// Tunable. A dropped SYN is repeated after a second: a path that works has answered by then.
const LOOK_MS = 1200;

function at(address: IpAddress, link: Link, state: State, code: string, says: string, cures: readonly string[] = []): Finding {
  return { link, state, code, address: address.text, says, cures };
}

/** Asks the kernel for a route and sends nothing. */
export async function examineRoute(target: IpAddress, port: number, from: readonly IpAddress[], context: Circumstances): Promise<Finding> {
  try {
    const path = await openPath(target, port, localAddressFor(from, target.family));
    path.close();
    return at(target, 'route', 'ok', 'route', `to ${target.text} from ${path.local.text}`);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    if (code === undefined) throw cause;
    const report = {
      address: target,
      sent: 0,
      source: undefined,
      ports: [],
      stopped: { kind: 'system', code },
      trouble: undefined,
    } as const;
    return failure('route', explainUnsent([report], context), target.text);
  }
}

export type Looked = { readonly target: IpAddress; readonly seen: readonly { readonly probe: ProbePort; readonly seen: Seen }[] };

export async function lookAtPorts(target: IpAddress, ports: readonly ProbePort[], from: readonly IpAddress[]): Promise<Looked> {
  const local = localAddressFor(from, target.family);
  const seen = await Promise.all(ports.map(async (probe) => ({ probe, seen: await isPortOpen(target, probe.port, local, LOOK_MS) })));
  return { target, seen };
}

/** `sinceKnockMs`: how long ago this machine last knocked there, if it did within a day. */
export function judgeBefore({ target, seen }: Looked, host: string, sinceKnockMs: number | undefined): Finding {
  if (seen.length === 0)
    return at(target, 'before', 'skipped', 'no-probe', `${target.text}: nothing that was asked for can be tried from here`);
  const open = seen.filter((each) => each.seen === 'open').map(({ probe }) => probe.service);
  if (open.length > 0) return judgeOpen(target, open.join(', '), host, sinceKnockMs);
  const unreachable = seen.filter((each) => each.seen === 'unreachable').map(({ probe }) => probe.service);
  if (unreachable.length > 0)
    return at(
      target,
      'before',
      'failed',
      'unreachable',
      `${unreachable.join(', ')} on ${target.text}: the network says that it cannot be reached`,
      ['is the host up, and is the address right? a router or a firewall on the way may refuse it too'],
    );
  const refused = seen.filter((each) => each.seen === 'refused').map(({ probe }) => probe.service);
  if (refused.length > 0)
    return at(
      target,
      'before',
      'ok',
      'refused',
      `${refused.join(', ')} on ${target.text} refuses connections: "refuse: reject", or not protected and nothing listens`,
    );
  return at(
    target,
    'before',
    'ok',
    'silent',
    `${seen.map(({ probe }) => probe.service).join(', ')} on ${target.text} does not answer: closed, as it should be`,
  );
}

function judgeOpen(target: IpAddress, services: string, host: string, sinceKnockMs: number | undefined): Finding {
  const says = `${services} on ${target.text} is open without a knock`;
  const onServer = 'on the server: posternd ports says who can reach it and why; "protect:" in postern.yaml must list it';
  if (sinceKnockMs === undefined)
    return at(
      target,
      'before',
      'failed',
      'not-protected',
      `${says}: NOT PROTECTED, or this address is trusted, or somebody else behind it has knocked`,
      [onServer],
    );
  const ago = offsetText(sinceKnockMs).replace(/ behind$/, '');
  return at(target, 'before', 'unsure', 'open-already', `${says}: this machine knocked there ${ago} ago, and that grant may still hold`, [
    `to be sure: knock close ${host}, then ask the doctor again`,
    `if it is open then too, it is NOT PROTECTED; ${onServer}`,
  ]);
}

/** What became of the packets themselves. That nothing comes back is as it should be. */
export function judgeKnock(report: AddressReport, context: Circumstances): Finding {
  const { address, sent, source, trouble } = report;
  if (sent === 0) return failure('knock', explainUnsent([report], context), address.text);
  const bound = source?.kind === 'bound' ? `bound to ${source.address.text}` : 'not bound to an address';
  const said = `${sent === 1 ? 'one packet' : `${sent} packets`} to ${address.text} udp/${context.knockPort}, ${bound}`;
  const opened = report.ports.length > 0 && report.ports.every((port) => port.after === 'open');
  if (trouble === undefined || opened)
    return at(address, 'knock', 'ok', 'sent', trouble === undefined ? `${said}; no answer, as it should be` : said);
  if (trouble === 'ECONNREFUSED')
    return at(
      address,
      'knock',
      'unsure',
      'answers-closed',
      `${said}; the port answers "closed": posternd does not run there (or says unmatched: pass)`,
      ['on the server: posternd status; systemctl status posternd'],
    );
  return at(address, 'knock', 'failed', 'filtered', `${said}; the network answers that it may not pass (${trouble})`, [
    `a router or firewall on the way, or the server's own, refuses UDP port ${context.knockPort}: let it through there, or let posternd hear on another port (port: in postern.yaml)`,
  ]);
}

export function judgeDoor(report: AddressReport, context: Circumstances): Finding {
  const { address, ports, sent } = report;
  if (sent === 0) return at(address, 'door', 'skipped', 'not-sent', `${address.text}: no knock was sent`);
  if (ports.length === 0) return at(address, 'door', 'skipped', 'no-probe', `${address.text}: whether it opened cannot be seen from here`);
  if (!ports.every((port) => port.after === 'open')) return failure('door', explainFailure([report], context), address.text);
  const afterMs = Math.max(...ports.map((port) => port.openedAfterMs ?? 0));
  return at(
    address,
    'door',
    'ok',
    'open',
    `${ports.map((port) => port.service).join(', ')} on ${address.text} opened after ${formatMs(afterMs)}`,
  );
}
