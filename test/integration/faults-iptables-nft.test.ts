// The faults against iptables in its form for nf_tables, with ipset, the first half.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./faults-firewall.test.ts');
await import('./faults-flush.test.ts');
await import('./faults-overrun.test.ts');
