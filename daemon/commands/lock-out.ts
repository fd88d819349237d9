// Would the SSH session that runs this command get back in once the gate is up? Reads the session from the environment; decides nothing else.
import { contains, type IpAddress, parseAddress } from '../../protocol/address.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import type { Config } from '../config/config.ts';
import { coveredBy } from '../config/ranges.ts';
import { type Problem, problemAt } from '../problem.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { windowEnd } from '../rules/time-window.ts';
import { isUsable } from '../rules/warnings.ts';
import { callersConnection } from './caller.ts';

export type Session = { readonly address: IpAddress; readonly serverPort: number };

/** `client port server port`, from sshd. */
export function parseSshConnection(text: string): Session | undefined {
  const [client = '', , , port = ''] = text.trim().split(' ');
  const address = parseAddress(client.replace(/%.*$/, ''));
  return address.ok && /^\d{1,5}$/.test(port) ? { address: address.value, serverPort: Number(port) } : undefined;
}

/** The SSH session that this command runs in, behind sudo too. */
export async function callersSession(environment: NodeJS.ProcessEnv): Promise<Session | undefined> {
  const connection = await callersConnection(environment);
  return connection === undefined ? undefined : parseSshConnection(connection.text);
}

/** A warning, when nobody whom the rules know could open this session's port from where it comes, at this moment. */
export function lockOut(session: Session | undefined, config: Config, book: RuleBook, now: UnixMs): Problem | undefined {
  if (session === undefined) return undefined;
  const { address, serverPort } = session;
  const port = { protocol: 'tcp', first: serverPort, last: serverPort } as const;
  if (!coveredBy(config.protect, port) || config.trusted.some((network) => contains(network, address))) return undefined;
  if (contains({ address: loopback, prefix: 8, text: '' }, address) || address.text === '::1') return undefined;
  const opens = book.clients.some(
    (client) =>
      isUsable(client, now) &&
      client.allow.some(
        (entry) =>
          entry.services.some((service) => coveredBy(service.ports, port)) &&
          (entry.from === undefined || entry.from.some((network) => contains(network, address))) &&
          (entry.when === undefined || windowEnd(entry.when, now, unixMs(now + 1)) !== undefined),
      ),
  );
  if (opens) return undefined;
  const message = `your own SSH session (from ${address.text} to tcp/${serverPort}) would not get back in: no client may open that port from there now`;
  return problemAt(undefined, message, `add a client that may, or put ${address.text} under trusted: for now`, 'warning');
}

const loopback = ((): IpAddress => {
  const parsedAddress = parseAddress('127.0.0.0');
  if (!parsedAddress.ok) throw new TypeError(parsedAddress.why);
  return parsedAddress.value;
})();
