// A system under fire: the way to it, true knocks for the attacker to use, and what it has cost, read and lost so far.
import { join } from 'node:path';
import { askDaemon } from '../../../daemon/control/ask.ts';
import { StatusReport } from '../../../daemon/control/messages.ts';
import type { Host } from '../../lab/host.ts';
import { Installation } from '../../lab/installation.ts';
import type { SentKnock } from '../knock-sender-calls.ts';
import { processorMs } from '../processes.ts';
import type { Arena, Started } from '../systems/arena.ts';
import type { Way } from './frames.ts';
import { arrivedAt, type Queue, queueOf } from './queues.ts';

export type Datagram = { readonly port: number; readonly payload: Uint8Array };

export type Target = {
  readonly name: string;
  readonly address: string;
  readonly attacker: Host;
  /** The attacker's link to it. */
  readonly device: string;
  readonly way: Omit<Way, 'port'>;
  /** Postern's control socket. */
  readonly control: string | undefined;
  readonly knocks: (count: number) => Promise<readonly SentKnock[]>;
  /** A knock that never arrived. */
  readonly hold: () => Promise<Datagram>;
  /** A knock that opened the port just now. */
  readonly spend: () => Promise<Datagram>;
  readonly cpuMs: () => number;
  /** Packets that its interface has taken in. */
  readonly arrived: () => number;
  readonly queue: () => Queue;
  /** Datagrams that the daemon has looked at, where it tells. */
  readonly seen: () => Promise<number | undefined>;
};

export function targetOf(arena: Arena, { variant, system }: Started): Target {
  const { attacker } = arena;
  if (attacker === undefined) throw new Error('this arena has no attacker');
  const [theirs, address] = [system.ground.server.interfaces[0], system.ground.server.ipv4()];
  const segment = address.slice(0, address.lastIndexOf('.') + 1);
  const mine = attacker.interfaces.find(({ ipv4 }) => ipv4.startsWith(segment));
  if (theirs === undefined || mine === undefined) throw new Error(`no way from ${attacker.name} to ${variant.name}`);
  const installation = 'installation' in system && system.installation instanceof Installation ? system.installation : undefined;
  const control = installation === undefined ? undefined : join(installation.folder, 'run', 'control.sock');
  const one = async (): Promise<SentKnock> => {
    const [knock] = await system.knocks(arena.freshAddresses(1));
    if (knock === undefined) throw new Error(`${variant.name}: no knock`);
    return knock;
  };
  return {
    name: variant.name,
    address,
    attacker,
    device: mine.name,
    way: { from: { link: mine.mac, ipv4: mine.ipv4 }, to: { link: theirs.mac, ipv4: theirs.ipv4 } },
    control,
    knocks: (count) => system.knocks(arena.freshAddresses(count)),
    hold: async () => datagramOf(await one()),
    spend: async () => {
      const knock = await one();
      const { ms } = await arena.ask('time', { to: address, knock, deadlineMs: 5_000 });
      if (ms === null) throw new Error(`${variant.name}: a true knock did not open the port`);
      return datagramOf(knock);
    },
    cpuMs: () => processorMs(system.pid()),
    arrived: () => arrivedAt(system.pid(), theirs.name),
    queue: () => queueOf(system.pid()),
    seen: async () => (control === undefined ? undefined : (await askDaemon(control, { command: 'status' }, StatusReport)).capture.seen),
  };
}

/** The one datagram of a knock. */
function datagramOf({ datagrams: [only] }: SentKnock): Datagram {
  if (only === undefined) throw new Error('a knock without a datagram');
  return { port: only.port, payload: Buffer.from(only.payload, 'base64') };
}
