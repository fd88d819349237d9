// The gate in iptables, in its form for nf_tables: the same suites as for nftables.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./gate-openings.test.ts');
await import('./gate-layout.test.ts');
await import('./gate-reuse.test.ts');
