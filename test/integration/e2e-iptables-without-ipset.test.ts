// The black-box suites against iptables (the form for nf_tables) without ipset.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-without-ipset');
await import('./e2e-open.test.ts');
await import('./e2e-grants.test.ts');
