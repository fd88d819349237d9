// Somebody on the server's own network who can send any frame, and who has everything but the keys: true packets are minted for them by
// whoever has a key, as if they had caught them on the way.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unixMs } from '../../protocol/brand.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { parsePrivateKey, parsePublicLine } from '../../protocol/openssh.ts';
import { encodeBody, sealKnock } from '../../protocol/packet.ts';
import { type Pairing, pairAsClient } from '../../protocol/pairing.ts';
import { tagOf, windowOf } from '../../protocol/tags.ts';
import type { Host } from '../lab/host.ts';
import type { Installation, Knocker } from '../lab/installation.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import { PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { pcap } from '../unit/capture-packets.ts';
import { forge, signed } from '../unit/protocol-forge.ts';
import type { Path } from './frames.ts';

/** The way from one host to another on the same switch; `more` says what is forged. */
export function pathBetween(from: Host, to: Host, at: 0 | 1, more: Partial<Path> = {}): Path {
  return {
    fromMac: from.interfaces[0]?.mac ?? '',
    toMac: to.interfaces[0]?.mac ?? '',
    from: from.addresses()[at],
    to: to.addresses()[at],
    ...more,
  };
}

/** Sends frames as they are, in this order, past the sender's own stack. */
export async function inject(from: Host, frames: readonly Uint8Array[]): Promise<void> {
  const folder = scratchFolder('frames');
  try {
    const file = join(folder, 'frames.pcap');
    writeFileSync(file, pcap(frames));
    await from.exec(['tcpreplay', '-q', '--topspeed', '-i', from.interfaces[0]?.name ?? '', file]);
  } finally {
    removeScratch(folder);
  }
}

/** The same, and comes back when the other host's kernel has taken all of them in: what it makes of them it does in the same breath. */
export async function deliver(from: Host, to: Host, frames: readonly Uint8Array[]): Promise<void> {
  const hook = `type filter hook ingress device "${to.interfaces[0]?.name}" priority -500;`;
  await to.nft(
    `table netdev arrivals { counter frames { }\nchain c { ${hook} ether saddr ${from.interfaces[0]?.mac} counter name frames; }\n}`,
  );
  try {
    await inject(from, frames);
    const arrived = async () => {
      const { stdout } = await to.exec(['nft', 'list', 'counter', 'netdev', 'arrivals', 'frames']);
      return Number(/packets (\d+)/.exec(stdout)?.[1]) >= frames.length;
    };
    await waitFor(arrived, { deadlineMs: 30_000, what: `${frames.length} frames to arrive` });
  } finally {
    await to.nft('delete table netdev arrivals');
  }
}

/** Seals true packets with a person's key, each in a slot of its own, without sending them. */
export class Mint {
  readonly #secret: ReturnType<typeof secretOf>;
  readonly #pairing: Pairing;
  readonly #slots: number;
  readonly #used = new Map<number, number>();

  constructor(person: Knocker, server: Installation, slots = 64) {
    this.#secret = secretOf(person);
    const key = parsePublicLine(server.publicLine);
    if (!key.ok) throw new Error(key.why);
    this.#pairing = pairAsClient(this.#secret, key.value.publicKey);
    this.#slots = slots;
  }

  /** A packet for PORT, or for what `body` says; as short as a packet may be where that is wanted, else of any length. */
  packet(body: Partial<KnockBody> = {}, length: 'any' | 'shortest' = 'any'): Uint8Array {
    const { window, slot, wanted } = this.#next(body);
    // The nonce is asked for first, then what decides the length.
    let isNonce = true;
    const random = (count: number): Uint8Array => {
      const bytes = isNonce || length === 'any' ? new Uint8Array(randomBytes(count)) : new Uint8Array(count);
      isNonce = false;
      return bytes;
    };
    return sealKnock({ secret: this.#secret, pairing: this.#pairing, window, slot, body: wanted, random });
  }

  /** What no client says, rightly sealed and signed: the bytes of a body, changed. */
  forged(body: Partial<KnockBody>, change: (bytes: Uint8Array) => void): Uint8Array {
    const { window, slot, wanted } = this.#next(body);
    const bodyBytes = encodeBody(wanted);
    change(bodyBytes);
    const [tag, nonce] = [tagOf(this.#pairing, window, slot), new Uint8Array(randomBytes(24))];
    return forge(this.#pairing, signed(this.#secret, this.#pairing.server, { tag, nonce, bodyBytes }));
  }

  #next(body: Partial<KnockBody>): { readonly window: number; readonly slot: number; readonly wanted: KnockBody } {
    const sentAtMs = body.sentAtMs ?? unixMs(Date.now());
    const window = windowOf(sentAtMs);
    const slot = this.#used.get(window) ?? 0;
    if (slot >= this.#slots) throw new Error('no slot is left in this minute');
    this.#used.set(window, slot + 1);
    const wanted: KnockBody = {
      action: { kind: 'open', lifetimeSeconds: 30, once: false },
      source: { kind: 'unbound' },
      sourcePort: 0,
      requests: [{ kind: 'ports', ports: { protocol: 'tcp', first: PORT, last: PORT } }],
      ...body,
      sentAtMs,
    };
    return { window, slot, wanted };
  }
}

function secretOf(person: Knocker) {
  const parsed = parsePrivateKey(readFileSync(join(person.home, '.ssh', 'id_ed25519'), 'utf8'));
  if (parsed.kind !== 'key') throw new Error(`${person.name}: ${JSON.stringify(parsed)}`);
  return parsed.secret;
}
