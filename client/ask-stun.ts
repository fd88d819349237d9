// Asks a STUN server that the user named under which address it sees this machine. Nobody is asked who was not named.
// The answer is no secret and is not authenticated: whoever sits on the way to that server can lie (docs/threat-model.md).
import { randomBytes } from 'node:crypto';
import type { IpAddress } from '../protocol/address.ts';
import { type Parsed, parsed, unparsed } from '../protocol/brand.ts';
import { askByUdp } from './ask-udp.ts';
import { isCommandError } from './command-error.ts';
import { type Endpoint, formatEndpoint } from './endpoint.ts';
import { quote } from './quote.ts';
import { resolveHost } from './resolve.ts';
import { encodeBindingRequest, readBindingAnswer, TRANSACTION_BYTES } from './stun-message.ts';

/** The address of this machine, of the family of `target`, as `server` sees it. */
export async function seenByStun(
  server: Endpoint,
  target: IpAddress,
  from: IpAddress | undefined,
  timeoutMs: number,
): Promise<Parsed<IpAddress>> {
  const name = `the STUN server ${quote(formatEndpoint(server))}`;
  try {
    const [address] = (await resolveHost(server.host, target.family, timeoutMs)).targets;
    if (address === undefined) return unparsed(`${name} has no address`);
    // One transaction for all repetitions (RFC 8489 6.2.1): an answer to any of them counts.
    const transaction = new Uint8Array(randomBytes(TRANSACTION_BYTES));
    const answer = await askByUdp({
      target: address,
      port: server.port,
      from,
      timeoutMs,
      ask: () => encodeBindingRequest(transaction),
      read: (datagram) => {
        const read = readBindingAnswer(datagram, transaction);
        return read.kind === 'foreign' ? undefined : read;
      },
    });
    if ('unanswered' in answer) return unparsed(`${name} did not answer (${answer.unanswered})`);
    if (answer.kind === 'refused') return unparsed(`${name} answered with ${answer.why}`);
    return parsed(answer.address);
  } catch (cause) {
    if (!isCommandError(cause)) throw cause;
    return unparsed(`${name}: ${cause.message}`);
  }
}
