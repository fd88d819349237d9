// The same beside an iptables gate in its form for nf_tables, which lives in tables that others may use too.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./neighbors-rules.test.ts');
