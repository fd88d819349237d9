// The flood itself, from a host of its own and one core: trafgen as fast as that core can, tcpreplay at a rate (trafgen's own gaps
// grow with its timer: 20 µs become 48). Decides nothing about what is sent.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../../lab/host.ts';
import type { Running } from '../../lab/process.ts';
import { removeScratch, scratchFolder } from '../../lab/scratch.ts';
import { pcapFile, trafgenText } from './frames.ts';

/** trafgen with one process pins it to the first core; tcpreplay is pinned to the same. */
const CORE = '0';
/** -Q: no interrupt of this machine is moved. */
const TRAFGEN = ['trafgen', '--cpus', '1', '-Q'];

/** Packets a second, or as fast as one core can send. */
export type Rate = number | 'max';

export type Sent = { readonly packets: number; readonly elapsedMs: number };

export type Flood = {
  /** Ends it and tells what was sent. */
  readonly stop: () => Promise<Sent>;
  /** Ends it, if it goes on. */
  readonly end: () => Promise<void>;
};

/** Frames to send, in files that both programs read. Close it. */
export class Ammunition {
  readonly #folder = scratchFolder('flood');

  constructor(frames: readonly Uint8Array[]) {
    writeFileSync(this.#file('pcap'), pcapFile(frames));
    writeFileSync(this.#file('trafgen'), trafgenText(frames));
  }

  /** Sends exactly this many, one frame after the other, by trafgen at full speed. */
  async sendCount(from: Host, device: string, packets: number): Promise<Sent> {
    const { stdout, stderr } = await from.exec([...TRAFGEN, '--dev', device, '--conf', this.#file('trafgen'), '--num', String(packets)], {
      timeoutMs: 60_000,
    });
    return readTrafgen(stdout + stderr);
  }

  /** Starts to send until `stop`, or for at most `limitMs`. */
  start(from: Host, device: string, rate: Rate, limitMs: number): Flood {
    const argv =
      rate === 'max'
        ? [...TRAFGEN, '--dev', device, '--conf', this.#file('trafgen')]
        : ['taskset', '-c', CORE, 'tcpreplay', '-q', '-i', device, '-K', `--pps=${rate}`, '--loop=100000000', this.#file('pcap')];
    const running = from.start(['timeout', '--signal=INT', '--kill-after=5', String(limitMs / 1000), ...argv]);
    const end = async (): Promise<void> => {
      // `timeout` hands the signal on to what it runs.
      running.kill('SIGINT');
      await running.exited;
    };
    const stop = async (): Promise<Sent> => {
      await end();
      return rate === 'max' ? readTrafgen(running.stdout + running.stderr) : readTcpreplay(running);
    };
    return { stop, end };
  }

  close(): void {
    removeScratch(this.#folder);
  }

  #file(kind: 'pcap' | 'trafgen'): string {
    return join(this.#folder, `packets.${kind}`);
  }
}

function readTrafgen(text: string): Sent {
  const found = /(\d+) sec, (\d+) usec on CPU\d+ \((\d+) packets\)/.exec(text);
  if (found === null) throw new Error(`trafgen did not say what it sent:\n${text.slice(-2000)}`);
  const [, seconds, micros, packets] = found.map(Number);
  return { packets: packets ?? 0, elapsedMs: (seconds ?? 0) * 1000 + (micros ?? 0) / 1000 };
}

function readTcpreplay({ stdout, stderr }: Running): Sent {
  const found = /Actual: (\d+) packets .* sent in ([\d.]+) seconds/.exec(stdout + stderr);
  if (found === null) throw new Error(`tcpreplay did not say what it sent:\n${(stdout + stderr).slice(-2000)}`);
  return { packets: Number(found[1]), elapsedMs: Number(found[2]) * 1000 };
}
