// Decides how packets are seen: the first way that this host can do, with one sentence that says which and why.
import type { Sieve } from '../firewall/firewall.ts';
import { type Capture, CaptureError, type OnDatagram } from './capture.ts';
import { startNflog } from './nflog.ts';
import { startRaw } from './raw.ts';
import { findObstacles } from './raw-obstacles.ts';
import { startUdp } from './udp.ts';

/**
 * What the firewall can do for a capture: log matched packets, or why it cannot. `marks`: whether its sieve marks knocks for raw sockets, so
 * that nothing else wakes them.
 */
export type SieveFacts =
  | { readonly canLog: true; readonly marks?: boolean }
  | { readonly canLog: false; readonly marks?: false; readonly why: string };

type Way = 'nflog' | 'raw' | 'udp';

/** In the order in which they are tried. */
export type CapturePlan = { readonly ways: readonly Way[]; readonly because: string };

export type CaptureWish = 'auto' | Way;

/** Which ways come into question, from what is known without trying. Pure. Throws CaptureError for what cannot work. */
export function planCapture(wish: CaptureWish, sieve: SieveFacts): CapturePlan {
  if (wish === 'udp' || wish === 'raw') return { ways: [wish], because: 'the configuration says so' };
  if (wish === 'nflog') {
    if (sieve.canLog) return { ways: ['nflog'], because: 'the configuration says so' };
    throw new CaptureError('unsupported', `capture: nflog cannot work here, ${sieve.why}: set capture: auto, raw or udp`);
  }
  if (!sieve.canLog) return { ways: ['raw', 'udp'], because: sieve.why };
  return { ways: ['nflog', 'raw', 'udp'], because: 'the kernel logs knocks to us' };
}

export type CaptureRequest = {
  readonly wish: CaptureWish;
  readonly sieve: SieveFacts;
  readonly unmatched: 'drop' | 'pass';
  readonly port: number;
  /** Our own nftables table. */
  readonly table: string;
  /** The log group to try first, and the prefix of the rule that logs. */
  readonly group: number;
  readonly prefix: string;
  readonly onDatagram: OnDatagram;
  readonly onTrouble: (text: string) => void;
};

export type Chosen = {
  readonly capture: Capture;
  /** What the gate has to do with knocks for this capture. */
  readonly sieve: Sieve;
  /** For the log: which, and why. */
  readonly sentence: string;
};

/** Starts the first capture that works. The gate is built after this, from `sieve`; tags are armed last. Throws CaptureError. */
export async function startCapture(request: CaptureRequest): Promise<Chosen> {
  const plan = planCapture(request.wish, request.sieve);
  const last = plan.ways.at(-1);
  let because = plan.because;
  for (const way of plan.ways) {
    try {
      return await START[way](request, because);
    } catch (error) {
      if (!(error instanceof CaptureError) || way === last || !isReasonToFallBack(way, error)) throw error;
      because = error.message;
    }
  }
  throw new CaptureError('unavailable', 'no way to capture packets is left to try');
}

/** Without CAP_NET_ADMIN the gate cannot be built either: another capture would only hide that. CAP_NET_RAW is for `raw` alone. */
function isReasonToFallBack(way: Way, error: CaptureError): boolean {
  return error.fault !== 'not-permitted' || way === 'raw';
}

const START: Readonly<Record<Way, (request: CaptureRequest, because: string) => Promise<Chosen>>> = {
  nflog: async (request, because) => {
    const { capture, group } = await startNflog(request);
    const other = group === request.group ? '' : ` (group ${request.group} is taken)`;
    const sentence = `capture nflog, group ${group}${other}: ${because}, nothing listens`;
    return { capture, sieve: { kind: 'log', group, prefix: request.prefix }, sentence };
  },
  raw: async (request, because) => {
    // Without marks the host would answer what the sieve lets through to the raw sockets.
    if (request.sieve.canLog && request.sieve.marks !== true && request.unmatched === 'drop')
      throw new CaptureError('unsupported', UNSILENT);
    const { chains, unknown } = await findObstacles(request.table);
    if (chains.length > 0) throw obstructed(chains);
    for (const what of unknown)
      request.onTrouble(`whether another firewall keeps packets from raw sockets cannot be told: ${what} could not be read`);
    const capture = await startRaw({ ...request, onlyMarked: request.sieve.marks === true && request.unmatched === 'drop' });
    return { capture, sieve: passTo('raw', request.sieve), sentence: `capture raw, nothing is bound to a port: ${because}` };
  },
  udp: async (request, because) => {
    const capture = await startUdp(request);
    const sentence = `capture udp, a socket on udp/${request.port} that every firewall of this host must let in: ${because}`;
    return { capture, sieve: passTo('socket', request.sieve), sentence };
  },
};

function passTo(to: 'socket' | 'raw', sieve: SieveFacts): Sieve {
  return sieve.canLog ? { kind: 'pass', to } : { kind: 'none' };
}

/** For `check` too. */
export const UNSILENT =
  'capture: raw with unmatched: drop needs nftables (iptables cannot keep the host silent about knocks): set capture: nflog (or auto), or unmatched: pass';

/** For `check` too. */
export function obstructed(chains: readonly string[]): CaptureError {
  const what = `capture: raw sees nothing that another firewall drops, and here ${chains.join(', and ')}`;
  return new CaptureError('unsupported', `${what}: set capture: nflog (or auto), which sees packets before it`);
}
