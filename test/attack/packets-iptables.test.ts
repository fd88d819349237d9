// The same with iptables, which has no sieve: what is as long as a knock goes to the daemon.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./packets.test.ts');
