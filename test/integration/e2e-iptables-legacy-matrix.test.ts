// The scenario of e2e-matrix.test.ts with each capture, against iptables-legacy.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-legacy');
await import('./e2e-matrix.test.ts');
