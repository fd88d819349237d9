// Decides how packets are seen: the first way that this host can do, with one sentence that says which and why.
import type { Sieve } from '../firewall/firewall.ts';
import { type Capture, CaptureError, type OnDatagram } from './capture.ts';
import { startNflog } from './nflog.ts';
import { startUdp } from './udp.ts';

/** What the firewall can do for a capture: log matched packets, or why it cannot. */
export type SieveFacts = { readonly canLog: true } | { readonly canLog: false; readonly why: string };

/** In the order in which they are tried. */
export type CapturePlan = { readonly ways: readonly ('nflog' | 'udp')[]; readonly because: string };

export type CaptureWish = 'auto' | 'nflog' | 'udp' | 'raw';

/** Which ways come into question, from what is known without trying. Pure. Throws CaptureError for what cannot work. */
export function planCapture(wish: CaptureWish, sieve: SieveFacts): CapturePlan {
  if (wish === 'raw') {
    throw new CaptureError('unsupported', 'capture: raw comes with a later version: set capture: auto, nflog or udp');
  }
  if (wish === 'udp') return { ways: ['udp'], because: 'the configuration says so' };
  if (wish === 'nflog') {
    if (sieve.canLog) return { ways: ['nflog'], because: 'the configuration says so' };
    throw new CaptureError('unsupported', `capture: nflog cannot work here, ${sieve.why}: set capture: auto or udp`);
  }
  if (!sieve.canLog) return { ways: ['udp'], because: sieve.why };
  return { ways: ['nflog', 'udp'], because: 'the kernel logs knocks to us' };
}

export type CaptureRequest = {
  readonly wish: CaptureWish;
  readonly sieve: SieveFacts;
  readonly port: number;
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
  let because = plan.because;
  for (const way of plan.ways) {
    if (way === 'udp') return startChosenUdp(request, because);
    try {
      const { capture, group } = await startNflog(request);
      const other = group === request.group ? '' : ` (group ${request.group} is taken)`;
      const sentence = `capture nflog, group ${group}${other}: ${because}, nothing listens`;
      return { capture, sieve: { kind: 'log', group, prefix: request.prefix }, sentence };
    } catch (error) {
      if (!(error instanceof CaptureError) || !isReasonToFallBack(error) || !plan.ways.includes('udp')) throw error;
      because = error.message;
    }
  }
  throw new CaptureError('unavailable', 'no way to capture packets is left to try');
}

/** Without the capability the gate cannot be built either: a socket would only hide that. */
function isReasonToFallBack(error: CaptureError): boolean {
  return error.fault !== 'not-permitted';
}

async function startChosenUdp(request: CaptureRequest, because: string): Promise<Chosen> {
  const capture = await startUdp(request);
  return { capture, sieve: request.sieve.canLog ? { kind: 'pass' } : { kind: 'none' }, sentence: udpSentence(request.port, because) };
}

function udpSentence(port: number, because: string): string {
  return `capture udp, a socket on udp/${port} that every firewall of this host must let in: ${because}`;
}
