// What every way of seeing packets gives to the daemon. A datagram is bytes from anybody: nothing in it is trusted.
import type { IpAddress } from '../../protocol/address.ts';

export type Datagram = {
  readonly payload: Uint8Array;
  readonly source: IpAddress;
  readonly sourcePort: number;
};

export type CaptureCounters = {
  /** Datagrams handed on. */
  readonly seen: number;
  /** Lost between kernel and daemon, as far as the kernel tells. */
  readonly lost: number;
  /** Messages that were not ours: another program's log rule, another prefix, not from the kernel. */
  readonly foreign: number;
  /** Ours by origin, but not a whole UDP datagram. */
  readonly malformed: number;
};

/** A capture that is bound and running. `stop` resolves when nothing more will be delivered. */
export type Capture = {
  readonly name: 'nflog' | 'raw' | 'udp';
  readonly counters: () => CaptureCounters;
  readonly stop: () => Promise<void>;
};

export type OnDatagram = (datagram: Datagram) => void;

/** Why a capture cannot start. */
export type CaptureFault =
  | 'not-permitted' // a capability is missing: CAP_NET_ADMIN, or CAP_NET_RAW for raw
  | 'unsupported' // this host cannot: no NFLOG in the kernel, a native module missing, another firewall in the way
  | 'groups-taken' // every group that was tried belongs to another program
  | 'port-in-use'
  | 'unavailable'; // the system refused for a reason of its own, given in the message

/** `message` is one line: what is wrong and what to do. */
export class CaptureError extends Error {
  readonly fault: CaptureFault;
  constructor(fault: CaptureFault, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CaptureError';
    this.fault = fault;
  }
}
