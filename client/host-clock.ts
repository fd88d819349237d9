// After a knock in vain: reads the time that the host's own web server tells, if it has one. For a report only: plain HTTP can be forged by
// anybody on the way, so nothing is ever signed by it. Asks nobody but the host that was knocked at.
import { request } from 'node:http';
import type { IpAddress } from '../protocol/address.ts';
import { dateOffset, parseHttpDate } from './http-date.ts';
import type { Clock } from './time-source.ts';
import type { World } from './world.ts';

const HTTP_PORT = 80;
// Tunable: the user waits for an explanation by now.
const MAX_WAIT_MS = 1000;

/** Undefined when it cannot be found out. */
export async function hostClock(
  target: IpAddress,
  from: IpAddress | undefined,
  now: World['now'],
): Promise<(Clock & { readonly kind: 'measured' }) | undefined> {
  const sentMs = now();
  return await new Promise((resolve) => {
    const question = request({
      host: target.text,
      port: HTTP_PORT,
      method: 'HEAD',
      path: '/',
      agent: false,
      // By its address: any answer will do, and the name as it was typed may be one that only this machine knows.
      headers: { connection: 'close' },
      ...(from === undefined ? {} : { localAddress: from.text }),
    });
    const finish = (clock?: Clock & { readonly kind: 'measured' }) => {
      clearTimeout(timer);
      question.destroy();
      resolve(clock);
    };
    const timer = setTimeout(() => finish(), MAX_WAIT_MS);
    question.on('error', () => finish());
    question.on('response', ({ headers }) => {
      const dateMs = parseHttpDate(headers.date ?? '');
      // What a cache kept says when it was made, which is another question.
      if (dateMs === undefined || headers.age !== undefined) return finish();
      finish({ kind: 'measured', source: 'its web server', ...dateOffset(dateMs, 0, sentMs, now()) });
    });
    question.end();
  });
}
