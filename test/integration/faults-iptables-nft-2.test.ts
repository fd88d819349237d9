// The faults against iptables in its form for nf_tables, with ipset, the second half.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./faults-kill.test.ts');
await import('./faults-network.test.ts');
await import('./faults-two.test.ts');
