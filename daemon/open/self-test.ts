// A known-answer test at start: seals knocks and opens them. It proves that this host's cryptography works before anybody depends on it,
// and it warms the code up, so that the first real knock takes as long as the thousandth.
import { randomBytes } from 'node:crypto';
import type { UnixMs } from '../../protocol/brand.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { openKnock, sealKnock } from '../../protocol/packet.ts';
import { pairAsClient, pairAsServer } from '../../protocol/pairing.ts';
import { windowOf } from '../../protocol/tags.ts';
import { pacing } from '../pacing.ts';

/** Tunable: enough for the compiler to have seen the whole path; about 30 ms in all. */
const ROUNDS = 60;

/** Throws when a true knock does not open or an altered one does. Keys are thrown away. In slices of time. */
export async function selfTest(now: UnixMs): Promise<void> {
  const pace = pacing();
  const client = secretFromSeed(new Uint8Array(randomBytes(32)));
  const server = secretFromSeed(new Uint8Array(randomBytes(32)));
  const theirs = pairAsClient(client, server.publicKey);
  const ours = pairAsServer(server, client.publicKey);
  const window = windowOf(now);
  const body: KnockBody = {
    action: { kind: 'open', lifetimeSeconds: 30, once: false },
    sentAtMs: now,
    source: { kind: 'unbound' },
    sourcePort: 0,
    requests: [{ kind: 'service', name: 'ssh' }],
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const random = (count: number) => new Uint8Array(randomBytes(count));
    const packet = sealKnock({ pairing: theirs, secret: client, window, slot: round % 16, body, random });
    const opened = openKnock(packet, ours, window);
    packet[packet.length - 1] = (packet[packet.length - 1] ?? 0) ^ 1;
    if (!opened.ok || openKnock(packet, ours, window).ok) {
      throw new Error('the self-test of the cryptography failed on this host: posternd does not run on it');
    }
    await pace();
  }
}
