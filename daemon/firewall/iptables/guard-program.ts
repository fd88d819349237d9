// A process that outlives a trial's: `guard-program.js TABLE RUNTIME_FOLDER`. Its standard input closes when whoever put the gate up is gone, however
// that came; unless it was told before that the gate stays, it takes the gate down.
import { FirewallError } from '../firewall.ts';
import { STAYS } from './guard.ts';
import { openIptables } from './iptables.ts';

/** Tunable: somebody must take it down, and nobody else is there. */
const RETRY_MS = 1000;

async function guard(table: string, runtimeFolder: string): Promise<void> {
  let told = '';
  for await (const chunk of process.stdin) told += String(chunk);
  if (told.includes(STAYS)) return;
  for (;;) {
    try {
      const firewall = await openIptables({ table, runtimeFolder });
      await firewall.remove();
      return await firewall.release();
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      process.stderr.write(`posternd: the trial is over, but the gate could not be taken down: ${error.message}: ${error.cure}\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

const [, , table = '', runtimeFolder = ''] = process.argv;
// systemd asks all of a unit to end when its main process was killed: this is when it is needed.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
await guard(table, runtimeFolder);
