// From the configuration to the structure of the gate. Pure: what stands in the kernel is the firewall's business.
import type { Config } from './config/config.ts';
import type { GateLayout, Sieve } from './firewall/firewall.ts';

/** Messages of ours carry it, so that another program's log rule in the same group is told apart. */
export const NFLOG_PREFIX = 'postern';

/** Windows that are armed at one time with the widest tolerance: 5 minutes each way, the present one, one ahead, and one for the change. */
const MOST_WINDOWS = 13;
/** A set that is full refuses everybody's next knock: never smaller than this. */
const LEAST_TAGS = 65_536;

/** `slots` is the sum of the slots of every peer. */
export function gateLayout(config: Config, sieve: Sieve, slots: number): GateLayout {
  const windows = Math.min(MOST_WINDOWS, 4 + Math.ceil((2 * config.clockToleranceMs) / 60_000));
  return {
    knockPort: config.port,
    interfaces: config.interfaces.map(({ name }) => name),
    protect: config.protect,
    trusted: config.trusted,
    networks: config.networks,
    refuse: config.refuse,
    unmatched: config.unmatched,
    sieve,
    tagCapacity: Math.max(LEAST_TAGS, 2 ** Math.ceil(Math.log2(slots * windows * 2 + 1))),
  };
}

/** The sieve that goes with a capture. `group` is the NFLOG group that is bound, or shall be. */
export function sieveFor(config: Pick<Config, 'capture'>, group: number): Sieve {
  switch (config.capture) {
    case 'udp':
      return { kind: 'pass', to: 'socket' };
    case 'raw':
      return { kind: 'pass', to: 'raw' };
    default:
      return { kind: 'log', group, prefix: NFLOG_PREFIX };
  }
}
