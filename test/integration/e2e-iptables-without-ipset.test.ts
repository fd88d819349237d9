// The black-box suites against iptables (the form for nf_tables) without ipset: see test/lab/backend-table.ts.
import { useBackend } from '../lab/backend.ts';
import { suitesOf } from '../lab/backend-table.ts';

useBackend('iptables-without-ipset');
for (const suite of suitesOf('iptables-without-ipset')) await import(`./e2e-${suite}.test.js`);
