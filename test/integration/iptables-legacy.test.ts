// The gate in iptables-legacy: the same suites as for nftables.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-legacy');
await import('./gate-openings.test.ts');
await import('./gate-layout.test.ts');
await import('./iptables-manners.test.ts');
await import('./iptables-rights.test.ts');
await import('./iptables-faults.test.ts');
