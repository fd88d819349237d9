// `posternd gate up|down|show`: the gate alone. Through the daemon where one runs, else straight to the kernel.
import { dirname } from 'node:path';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { keepLastGood, recallLastGood } from '../config/last-good.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon, NotRunning } from '../control/ask.ts';
import { GateReport } from '../control/messages.ts';
import { asCommandError } from '../firewall/as-command-error.ts';
import { chooseFirewall } from '../firewall/choose.ts';
import type { Firewall } from '../firewall/firewall.ts';
import { listIptables } from '../firewall/iptables/listing.ts';
import { restoredOpenings } from '../grants/restore.ts';
import { gateLayout, sieveFor } from '../layout.ts';
import { readBootId } from '../ledger/open.ts';
import { run, SpawnError } from '../spawn.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig, requireNetAdmin } from './require.ts';

/** With a wrong configuration the gate still goes up, by the last one that was right: exit 2, but closed. */
export async function gateUpCommand(options: CommonOptions, output: Output): Promise<void> {
  const loaded = await loadConfig(options.config);
  const last = loaded.config === undefined ? await recallLastGood(options.config) : undefined;
  const config = last ?? requireConfig(loaded);
  await viaDaemonOr(config, 'up', () =>
    withFirewall(config, async (firewall) => {
      const standing = await firewall.standing().catch(() => []);
      const openings = await restoredOpenings(dirname(config.control), readBootId(), systemClock, standing);
      await firewall.install(gateLayout(config, sieveFor(config, config.nflogGroup), 0), openings);
    }),
  );
  if (last !== undefined) {
    output.err('posternd: the configuration is wrong; the gate stands by the last one that was right, so that nothing is open:');
    requireConfig(loaded);
  }
  const trouble = await keepLastGood(config);
  if (trouble !== undefined) output.err(`posternd: ${trouble}`);
  const closed = config.protect.length === 0 ? 'nothing is protected yet' : `${config.protect.length} protected, closed unless granted`;
  output.out(options.json ? JSON.stringify({ state: 'up' }) : `the gate is up: ${closed}`);
}

export async function gateDownCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  await viaDaemonOr(config, 'down', () => withFirewall(config, (firewall) => firewall.remove()));
  output.out(options.json ? JSON.stringify({ state: 'down' }) : 'the gate is down: every port is as open as without Postern');
}

/** What stands in the kernel, whoever put it there: counters, openings with their time left, and the rules as nft or iptables-save list them. */
export async function gateShowCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  await withFirewall(config, async (firewall) => {
    const what = firewall.name === 'iptables' ? `chains ${config.table.toUpperCase()} of iptables` : `table inet ${config.table}`;
    const structure = firewall.name === 'iptables' ? await listIptables(config.table) : await listStructure(config.table);
    if (structure.kind === 'absent') throw new CommandError(1, `there is no gate (no ${what}): "posternd gate up" closes it`);
    const counters = await firewall.counters();
    const openings = (await firewall.standing()).map(({ opening, remainingMs }) => ({
      kind: opening.kind,
      address: opening.address.text,
      port: `${opening.protocol}/${opening.port}`,
      source_port: opening.sourcePort === 0 ? null : opening.sourcePort,
      remaining_seconds: Math.round(remainingMs / 100) / 10,
    }));
    if (options.json) {
      output.out(JSON.stringify({ table: config.table, counters, openings, structure: structure.text }, null, 2));
      return;
    }
    output.out(`the gate is up: ${what}`);
    output.out(
      Object.entries(counters)
        .map(([name, count]) => `${name} ${count}`)
        .join(', '),
    );
    for (const opening of openings) {
      const from = opening.source_port === null ? '' : ` from port ${opening.source_port}`;
      output.out(`open: ${opening.address}${from} to ${opening.port}, ${opening.kind}, ${opening.remaining_seconds} s left`);
    }
    output.out(`\n${structure.text}`);
  });
}

type Structure = { readonly kind: 'absent' } | { readonly kind: 'there'; readonly text: string };

/** nft is for reading only: the gate stands without it. */
async function listStructure(table: string): Promise<Structure> {
  try {
    const { code, stdout, stderr } = await run(['nft', '--terse', 'list', 'table', 'inet', table], { timeoutMs: 10_000 });
    if (code === 0) return { kind: 'there', text: stdout.trimEnd() };
    if (/No such file or directory/.test(stderr)) return { kind: 'absent' };
    return { kind: 'there', text: `(nft cannot list it: ${stderr.split('\n')[0] ?? ''})` };
  } catch (error) {
    if (error instanceof SpawnError) return { kind: 'there', text: `(the rules are not listed: ${error.message})` };
    throw error;
  }
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
  if (config.firewall === 'none')
    throw new CommandError(2, `${config.file}: "firewall: none" has no gate: set it to auto, nftables or iptables`);
  requireNetAdmin('the gate');
  try {
    const { firewall } = await chooseFirewall(config);
    try {
      await work(firewall);
    } finally {
      await firewall.release();
    }
  } catch (error) {
    throw asCommandError(error);
  }
}
