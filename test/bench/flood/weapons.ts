// What an attacker can send, by what he knows: the frames of four kinds of flood against one system. Decides nothing about rates.
import { MAX_PACKET_BYTES, MIN_PACKET_BYTES } from '../../../protocol/packet.ts';
import { junkSource, udpFrame } from './frames.ts';
import type { Datagram, Target } from './target.ts';

export const WEAPONS = ['random', 'form', 'replay', 'seal'] as const;
export type Weapon = (typeof WEAPONS)[number];

/**
 * Nobody without the client's or the server's key can compute a tag. Who sits on the way and can hold packets back has the tags of the knocks that he
 * held, and each wakes the daemon at most once. This many are held back for each flood; who only reads has none, as what he reads has arrived.
 */
export const HELD_BACK = 256;
/** Making one is a run of the client program there. */
const HELD_BACK_OF_PEERS = 16;

export const KNOWS: Readonly<Record<Weapon, string>> = {
  random: 'random bytes, 1 to 1,400 of them: an attacker who knows nothing',
  form: 'the right form, random content: lengths as of true knocks (for fwknopd as many base64 characters)',
  replay: 'replays: one true knock that had opened the port just before, sent over and over',
  seal: `right tag, wrong seal: the armed tags of ${HELD_BACK} true knocks that were held back on their way, each before a broken box, over and over (for fwknopd ${HELD_BACK_OF_PEERS} true packets with a broken HMAC)`,
};

/** Different packets in a flood of junk; the same in each run. */
const FRAMES = 1024;
const SEED = 20_261_121;
const MAX_RANDOM_BYTES = 1400;
/** Fixed by SPEC.md "Packet". */
const TAG_BYTES = 16;
/** Characters at the end of an fwknop packet that are its HMAC alone. */
const HMAC_CHARACTERS = 40;
const BASE64 = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

export async function framesOf(weapon: Weapon, target: Target): Promise<readonly Uint8Array[]> {
  const { below, bytes } = junkSource(SEED);
  const isPostern = target.control !== undefined;
  const letters = (length: number): Uint8Array => bytes(length).map((byte) => BASE64[byte % BASE64.length] ?? 0);
  const frame = ({ port, payload }: Datagram): Uint8Array => udpFrame({ ...target.way, port }, 1024 + below(60_000), payload);
  const many = (port: number, payload: () => Uint8Array): readonly Uint8Array[] =>
    Array.from({ length: FRAMES }, () => frame({ port, payload: payload() }));
  const broken = ({ port, payload }: Datagram): Uint8Array => {
    const kept = isPostern ? TAG_BYTES : payload.length - HMAC_CHARACTERS;
    const rest = isPostern ? bytes(payload.length - kept) : letters(payload.length - kept);
    return frame({ port, payload: Buffer.concat([payload.subarray(0, kept), rest]) });
  };

  switch (weapon) {
    case 'random':
      return many((await target.hold()).port, () => bytes(1 + below(MAX_RANDOM_BYTES)));
    case 'form': {
      const { port, payload } = await target.hold();
      const length = (): number => MIN_PACKET_BYTES + below(MAX_PACKET_BYTES - MIN_PACKET_BYTES + 1);
      return many(port, () => (isPostern ? bytes(length()) : letters(payload.length)));
    }
    case 'replay':
      return [frame(await target.spend())];
    case 'seal': {
      const frames: Uint8Array[] = [];
      while (frames.length < (isPostern ? HELD_BACK : HELD_BACK_OF_PEERS)) frames.push(broken(await target.hold()));
      return frames;
    }
  }
}
