// The same with iptables: its match for address types is another one.
import { useBackend } from '../lab/backend.ts';

useBackend('iptables-nft');
await import('./groups.test.ts');
