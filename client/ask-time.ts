// Asks a clock that the user named how far this machine's is off. The system's clock is never set, and nobody is asked who was not named.
// Why only those: whoever can shift a client's clock can have a knock signed today that opens tonight (SPEC, docs/threat-model.md).
import { randomBytes } from 'node:crypto';
import { request as askHttps } from 'node:https';
import type { IpAddress } from '../protocol/address.ts';
import { askByUdp } from './ask-udp.ts';
import { isCommandError } from './command-error.ts';
import type { Endpoint } from './endpoint.ts';
import { dateOffset, parseHttpDate } from './http-date.ts';
import { localAddressFor } from './local-address.ts';
import { resolveHost } from './resolve.ts';
import { clockOffset, encodeSntpRequest, NONCE_BYTES, readSntpAnswer } from './sntp-message.ts';
import { type Clock, formatTimeSource, type TimeSource } from './time-source.ts';
import type { World } from './world.ts';

// Tunable. A clock that takes longer is of no use to somebody who waits at a door.
const MAX_WAIT_MS = 3000;

type Asker = { readonly now: World['now']; readonly from: readonly IpAddress[]; readonly timeoutMs: number };
type Offset = { readonly offsetMs: number; readonly uncertaintyMs: number };

/** Never throws for what the network or the source does: the clock is then unknown, and why is said. */
export async function askTime(source: TimeSource, asker: Asker): Promise<Clock> {
  if (source.kind === 'system') return { kind: 'system' };
  const name = formatTimeSource(source);
  const bounded = { ...asker, timeoutMs: Math.min(asker.timeoutMs, MAX_WAIT_MS) };
  const answer = await (source.kind === 'https' ? askDate(source.url, bounded) : askSntp(source.server, bounded));
  return typeof answer === 'string' ? { kind: 'unknown', why: `${name}: ${answer}` } : { kind: 'measured', source: name, ...answer };
}

async function askSntp(server: Endpoint, { now, from, timeoutMs }: Asker): Promise<Offset | string> {
  let target: IpAddress | undefined;
  try {
    [target] = (await resolveHost(server.host, from[0]?.family, timeoutMs)).targets;
  } catch (cause) {
    if (!isCommandError(cause)) throw cause;
    return cause.message;
  }
  if (target === undefined) return 'no address';
  // Each question has a nonce and a time of its own: an answer belongs to one of them.
  const asked: { readonly nonce: Uint8Array; readonly sentMs: number }[] = [];
  const answer = await askByUdp<Offset | { readonly refused: string }>({
    target,
    port: server.port,
    from: localAddressFor(from, target.family),
    timeoutMs,
    ask: () => {
      const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
      asked.push({ nonce, sentMs: now() });
      return encodeSntpRequest(nonce);
    },
    read: (datagram) => {
      const heardMs = now();
      for (const { nonce, sentMs } of asked) {
        const read = readSntpAnswer(datagram, nonce);
        if (read.kind === 'time') return clockOffset(read, sentMs, heardMs);
        if (read.kind === 'refused') return { refused: read.why };
      }
      return undefined;
    },
  });
  if ('unanswered' in answer) return `it did not answer (${answer.unanswered})`;
  return 'refused' in answer ? answer.refused : answer;
}

/** The Date of any answer from there, over a connection whose certificate is verified; redirections are not followed. */
async function askDate(url: URL, { now, from, timeoutMs }: Asker): Promise<Offset | string> {
  const sentMs = now();
  return await new Promise((resolve) => {
    const local = from[0];
    const question = askHttps(url, {
      method: 'HEAD',
      agent: false,
      // Also when NODE_TLS_REJECT_UNAUTHORIZED says otherwise.
      rejectUnauthorized: true,
      headers: { 'cache-control': 'no-cache', connection: 'close' },
      ...(local === undefined ? {} : { localAddress: local.text, family: local.family }),
    });
    const finish = (result: Offset | string) => {
      clearTimeout(timer);
      question.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish('it did not answer (timeout)'), timeoutMs);
    question.on('error', (error: NodeJS.ErrnoException) => finish(httpsTrouble(error.code)));
    question.on('response', ({ headers }) => {
      const dateMs = parseHttpDate(headers.date ?? '');
      const age = /^\d{1,9}$/.test(headers.age ?? '') ? Number(headers.age) : 0;
      finish(dateMs === undefined ? 'its answer carries no time' : dateOffset(dateMs, age, sentMs, now()));
    });
    question.end();
  });
}

function httpsTrouble(code = 'unknown error'): string {
  const advice: Readonly<Record<string, string>> = {
    CERT_NOT_YET_VALID: "its certificate is not valid yet by this machine's clock, which is far off, then: name an sntp: server",
    CERT_HAS_EXPIRED: "its certificate has expired by this machine's clock: one of the two is wrong",
  };
  return (
    advice[code] ?? (/CERT|SIGN|ISSUER|VERIFY/.test(code) ? `its certificate cannot be verified (${code})` : `it did not answer (${code})`)
  );
}
