// The black-box suites against iptables-legacy, with ipset.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-legacy');
await import('./e2e-open.test.ts');
await import('./e2e-faults.test.ts');
