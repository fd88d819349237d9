// The faults against iptables-legacy, with ipset.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-legacy');
await import('./faults-firewall.test.ts');
await import('./faults-flush.test.ts');
await import('./faults-overrun.test.ts');
