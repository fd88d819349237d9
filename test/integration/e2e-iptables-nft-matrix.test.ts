// The scenario of e2e-matrix.test.ts with each capture, against iptables in its form for nf_tables.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./e2e-matrix.test.ts');
