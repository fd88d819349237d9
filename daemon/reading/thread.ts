// The thread that reads many rules: ten thousand clients take seconds of parsing and of curve arithmetic, which no knock shall wait for.
// Started by read-rules.ts; sends one parcel each time it is asked. It ends with its last one, and takes its memory along.
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { secretFromSeed } from '../../protocol/identity.ts';
import { pairNew } from '../open/peers.ts';
import { loadRuleBook } from '../rules/load.ts';
import { type Order, parcels } from './parcels.ts';

async function serve(port: NonNullable<typeof parentPort>, order: Order): Promise<void> {
  const secrets = order.seeds.map(secretFromSeed);
  const { book, problems } = await loadRuleBook(order.config);
  const fresh = await pairNew(book ?? { clients: [] }, secrets, (id) => order.known.has(id));
  const rest = parcels(book, problems, secrets, fresh);
  port.on('message', () => {
    const { value, done } = rest.next();
    if (done === true) port.close();
    else port.postMessage(value);
  });
}

if (!isMainThread && parentPort !== null) await serve(parentPort, workerData as Order);
