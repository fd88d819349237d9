// Puts one question by UDP to one server that the user named, and waits for its answer a bounded time. Knows no protocol.
import type { IpAddress } from '../protocol/address.ts';
import { openPath, type Path } from './path.ts';

// Tunable. RFC 8489 6.2.1 and RFC 4330 ask for at least this long between two questions.
const FIRST_PAUSE_MS = 500;
const MAX_WAIT_MS = 3000;

export type Question<T> = {
  readonly target: IpAddress;
  readonly port: number;
  readonly from: IpAddress | undefined;
  readonly timeoutMs: number;
  /** A question of its own each time it is put. */
  readonly ask: () => Uint8Array;
  /** The answer; undefined for what is none. */
  readonly read: (datagram: Uint8Array) => T | undefined;
};

/** The system's or the network's error code: `ENETUNREACH`, `ECONNREFUSED` … or `timeout`. */
export type Unanswered = { readonly unanswered: string };

export async function askByUdp<T extends object>(question: Question<T>): Promise<T | Unanswered> {
  let path: Path;
  try {
    path = await openPath(question.target, question.port, question.from);
  } catch (cause) {
    return { unanswered: codeOf(cause) };
  }
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<T | Unanswered>((resolve) => {
      path.onDatagram((datagram) => {
        const answer = question.read(datagram);
        if (answer !== undefined) resolve(answer);
      });
      path.onTrouble((code) => resolve({ unanswered: code }));
      const limitMs = Math.min(question.timeoutMs, MAX_WAIT_MS);
      const put = (pauseMs: number, leftMs: number): void => {
        path.send(question.ask()).catch((cause: unknown) => resolve({ unanswered: codeOf(cause) }));
        const waitMs = Math.min(pauseMs, leftMs);
        timer = setTimeout(() => (waitMs === leftMs ? resolve({ unanswered: 'timeout' }) : put(pauseMs * 2, leftMs - waitMs)), waitMs);
      };
      put(FIRST_PAUSE_MS, limitMs);
    });
  } finally {
    clearTimeout(timer);
    path.close();
  }
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
}
