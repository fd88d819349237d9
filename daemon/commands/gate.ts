// `posternd gate up|down|show`: the gate alone. Through the daemon where one runs, else straight to the kernel.
import { dirname } from 'node:path';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon, NotRunning } from '../control/ask.ts';
import { GateReport } from '../control/messages.ts';
import type { Firewall } from '../firewall/firewall.ts';
import { openNftables } from '../firewall/nftables/nftables.ts';
import { restoredOpenings } from '../grants/restore.ts';
import { gateLayout, sieveFor } from '../layout.ts';
import { readBootId } from '../ledger/open.ts';
import { asCommandError } from '../postern.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig, requireNetAdmin } from './require.ts';

export async function gateUpCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  await viaDaemonOr(config, 'up', () =>
    withFirewall(config, async (firewall) => {
      const standing = await firewall.standing().catch(() => []);
      const openings = restoredOpenings(dirname(config.control), readBootId(), systemClock.monotonic(), standing);
      await firewall.install(gateLayout(config, sieveFor(config, config.nflogGroup), 0), openings);
    }),
  );
  const closed = config.protect.length === 0 ? 'nothing is protected yet' : `${config.protect.length} protected, closed unless granted`;
  output.out(options.json ? JSON.stringify({ state: 'up' }) : `the gate is up: ${closed}`);
}

export async function gateDownCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  await viaDaemonOr(config, 'down', () => withFirewall(config, (firewall) => firewall.remove()));
  output.out(options.json ? JSON.stringify({ state: 'down' }) : 'the gate is down: every port is as open as without Postern');
}

async function viaDaemonOr(config: Config, action: 'up' | 'down', direct: () => Promise<void>): Promise<void> {
  try {
    await askDaemon(config.control, { command: 'gate', action }, GateReport);
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error;
    await direct();
  }
}

async function withFirewall(config: Config, work: (firewall: Firewall) => Promise<void>): Promise<void> {
  if (config.firewall === 'none') throw new CommandError(2, `${config.file}: "firewall: none" has no gate: set it to auto or nftables`);
  requireNetAdmin('the gate');
  try {
    const firewall = await openNftables({ table: config.table });
    try {
      await work(firewall);
    } finally {
      await firewall.release();
    }
  } catch (error) {
    throw asCommandError(error);
  }
}
