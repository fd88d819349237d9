// Whether packets can come to this host by IPv6.
import { readFileSync } from 'node:fs';

/** There only where the kernel has IPv6. */
const ADDRESSES = '/proc/self/net/if_inet6';

/** `none`: not in this kernel. `off`: no interface has an address, not even lo, so no packet can come by it; that may change at any time. */
export type Ipv6OfHost = 'none' | 'off' | 'on';

export function ipv6OfHost(): Ipv6OfHost {
  try {
    return readFileSync(ADDRESSES, 'latin1').trim() === '' ? 'off' : 'on';
  } catch {
    return 'none';
  }
}
