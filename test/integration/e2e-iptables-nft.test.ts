// The black-box suites against iptables in its form for nf_tables, with ipset.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./e2e-open.test.ts');
await import('./e2e-grants.test.ts');
await import('./e2e-replay.test.ts');
await import('./e2e-faults.test.ts');
