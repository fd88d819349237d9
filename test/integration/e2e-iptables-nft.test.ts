// The black-box suites against iptables in its form for nf_tables, with ipset, the first half: see test/lab/backend-table.ts.
import { useBackend } from '../lab/backend.ts';
import { suitesOf } from '../lab/backend-table.ts';

useBackend('iptables-nft');
for (const suite of suitesOf('iptables-nft', { part: 0, of: 2 })) await import(`./e2e-${suite}.test.js`);
