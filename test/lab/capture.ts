// What really went over a link, as tcpdump saw it. Reads the capture file itself; says nothing about what should be there.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from './host.ts';
import type { Running } from './process.ts';
import { removeScratch, scratchFolder } from './scratch.ts';
import { waitFor } from './wait.ts';

/** Datagrams to the discard port mark a point in time in the capture (`settle`). */
const MARKER_PORT = 9;

export type CaptureOptions = {
  /** A pcap filter; everything by default. */
  readonly filter?: string;
  /** Name of the interface; the host's first link by default. */
  readonly interface?: string;
  /** in: towards this host. */
  readonly direction?: 'in' | 'out' | 'inout';
  /** Only so much of each frame, and room for many: for floods. `stop` says whether any was missed. */
  readonly bytesOfFrame?: number;
};

/** An Ethernet frame. `ip` starts at the network header. */
export type Frame = { readonly atMs: number; readonly bytes: Uint8Array; readonly etherType: number; readonly ip: Uint8Array };

export class Capture {
  /** The pcap file; gone after `close`. */
  readonly file: string;
  readonly #folder: string;
  readonly #host: Host;
  readonly #running: Running;

  private constructor(host: Host, folder: string, running: Running) {
    this.#host = host;
    this.#folder = folder;
    this.#running = running;
    this.file = join(folder, 'capture.pcap');
  }

  static async start(host: Host, options: CaptureOptions): Promise<Capture> {
    const folder = scratchFolder('capture');
    const filter = options.filter === undefined ? [] : [`(${options.filter}) or udp port ${MARKER_PORT}`];
    // -U and immediate mode: a packet is in the file as soon as the kernel showed it. -Z root: the folder is ours alone.
    const name = options.interface ?? host.interfaces[0]?.name ?? 'lo';
    const size = options.bytesOfFrame === undefined ? ['-s', '0'] : ['-s', String(options.bytesOfFrame), '-B', '16384'];
    const quick = ['-U', '--immediate-mode', ...size, '-Z', 'root', '-w', join(folder, 'capture.pcap')];
    const running = host.start(['tcpdump', '-n', '-i', name, '-Q', options.direction ?? 'inout', ...quick, ...filter]);
    await running.waitForOutput(/listening on/);
    return new Capture(host, folder, running);
  }

  /** All frames so far but our own markers. */
  frames(): readonly Frame[] {
    return readPcap(readFileSync(this.file)).filter((frame) => udpPort(frame) !== MARKER_PORT);
  }

  /** The payloads of the UDP datagrams to this port. */
  payloads(port: number): readonly Uint8Array[] {
    return this.frames()
      .filter((frame) => udpPort(frame) === port)
      .map((frame) => frame.ip.subarray(transportOffset(frame) + 8, transportOffset(frame) + udpLength(frame)));
  }

  /** Waits until at least this many frames are there. */
  async waitForFrames(count: number, deadlineMs = 5_000): Promise<readonly Frame[]> {
    return waitFor(() => this.frames().length >= count && this.frames(), { deadlineMs, what: `${count} captured frames` });
  }

  /**
   * After this, everything that crossed the link before the call is in `frames()`: a marker is sent to `towards`
   * and seen. What a test calls silence is silence up to here. Needs a capture of outgoing packets.
   */
  async settle(towards: string): Promise<readonly Frame[]> {
    const before = this.#markers();
    await this.#host.sendUdp(towards, MARKER_PORT, [new Uint8Array(1)]);
    await waitFor(() => this.#markers() > before, { what: 'the marker in the capture' });
    return this.frames();
  }

  /** Ends tcpdump; the file can still be read (for tcpreplay). Gives the number of frames that it could not keep up with. */
  async stop(): Promise<number> {
    await this.#running.stop();
    return Number(/(\d+) packets dropped by kernel/.exec(this.#running.stderr)?.[1] ?? 0);
  }

  async close(): Promise<void> {
    await this.stop();
    removeScratch(this.#folder);
  }

  #markers(): number {
    return readPcap(readFileSync(this.file)).filter((frame) => udpPort(frame) === MARKER_PORT).length;
  }
}

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const UDP = 17;

/** pcap as tcpdump writes it: a header of 24 bytes, then records of 16 bytes and the frame; in this machine's byte order. */
function readPcap(file: Buffer): Frame[] {
  const frames: Frame[] = [];
  if (file.length < 24) return frames;
  const little = file.readUInt32LE(0) === 0xa1b2c3d4;
  const word = (at: number) => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  for (let at = 24; at + 16 <= file.length; ) {
    const length = word(at + 8);
    const bytes = file.subarray(at + 16, at + 16 + length);
    if (bytes.length < length) break; // tcpdump is writing it now
    const atMs = word(at) * 1000 + word(at + 4) / 1000;
    if (length >= 14) frames.push({ atMs, bytes, etherType: bytes.readUInt16BE(12), ip: bytes.subarray(14) });
    at += 16 + length;
  }
  return frames;
}

function transportOffset(frame: Frame): number {
  return frame.etherType === IPV4 ? ((frame.ip[0] ?? 0) & 0x0f) * 4 : 40;
}

/** The destination port of a UDP datagram (no IPv6 extension headers), else undefined. */
function udpPort(frame: Frame): number | undefined {
  const protocol = frame.etherType === IPV4 ? frame.ip[9] : frame.etherType === IPV6 ? frame.ip[6] : undefined;
  if (protocol !== UDP) return undefined;
  return viewOf(frame).getUint16(transportOffset(frame) + 2);
}

function udpLength(frame: Frame): number {
  return viewOf(frame).getUint16(transportOffset(frame) + 4);
}

function viewOf(frame: Frame): DataView {
  return new DataView(frame.ip.buffer, frame.ip.byteOffset, frame.ip.byteLength);
}
