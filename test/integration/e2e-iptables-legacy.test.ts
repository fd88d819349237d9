// The black-box suites against iptables-legacy, with ipset: see test/lab/backend-table.ts.
import { useBackend } from '../lab/backend.ts';
import { suitesOf } from '../lab/backend-table.ts';

useBackend('iptables-legacy');
for (const suite of suitesOf('iptables-legacy')) await import(`./e2e-${suite}.test.js`);
