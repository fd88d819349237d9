// Would the SSH session that runs this command get back in once the gate is up? Reads the session from the environment; decides nothing else.
import { readFile } from 'node:fs/promises';
import { contains, type IpAddress, parseAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import type { Config } from '../config/config.ts';
import { coveredBy } from '../config/ranges.ts';
import { type Problem, problemAt } from '../problem.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { isUsable } from '../rules/warnings.ts';

export type Session = { readonly address: IpAddress; readonly serverPort: number };

/** `client port server port`, from sshd. */
export function parseSshConnection(text: string): Session | undefined {
  const [client = '', , , port = ''] = text.trim().split(' ');
  const address = parseAddress(client.replace(/%.*$/, ''));
  return address.ok && /^\d{1,5}$/.test(port) ? { address: address.value, serverPort: Number(port) } : undefined;
}

/** sudo takes SSH_CONNECTION away, so the processes that this one descends from are asked too. */
export async function callersSession(environment: NodeJS.ProcessEnv): Promise<Session | undefined> {
  const own = environment['SSH_CONNECTION'];
  if (own !== undefined) return parseSshConnection(own);
  let pid = process.ppid;
  for (let depth = 0; depth < 16 && pid > 1; depth += 1) {
    const variables = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    const found = variables.split('\0').find((each) => each.startsWith('SSH_CONNECTION='));
    if (found !== undefined) return parseSshConnection(found.slice('SSH_CONNECTION='.length));
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
    pid = Number(/^.*\) \S (\d+)/.exec(stat)?.[1] ?? 0);
  }
  return undefined;
}

/** A warning, when nobody whom the rules know could open this session's port from where it comes. */
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
          (entry.from === undefined || entry.from.some((network) => contains(network, address))),
      ),
  );
  if (opens) return undefined;
  const message = `your own SSH session (from ${address.text} to tcp/${serverPort}) would not get back in: no client may open that port from there`;
  return problemAt(undefined, message, `add a client that may, or put ${address.text} under trusted: for now`, 'warning');
}

const loopback = ((): IpAddress => {
  const parsedAddress = parseAddress('127.0.0.0');
  if (!parsedAddress.ok) throw new TypeError(parsedAddress.why);
  return parsedAddress.value;
})();
