// The gate in iptables without ipset, all of it rules: the same suites as for nftables.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-without-ipset');
await import('./gate-openings.test.ts');
await import('./gate-layout.test.ts');
