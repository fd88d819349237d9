// `posternd ports`: which sockets listen on this host, who can reach each, and by whose leave. It looks and changes nothing.
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon } from '../control/ask.ts';
import { StatusReport } from '../control/messages.ts';
import { listIptables } from '../firewall/iptables/listing.ts';
import { listRules } from '../neighbors/listing.ts';
import { surroundings } from '../neighbors/surroundings.ts';
import { ownersOf, userNames } from '../ports/owners.ts';
import { type Published, publishedPorts } from '../ports/published.ts';
import { familiesOf, REACHES, type Situation, silentPorts } from '../ports/reach.ts';
import { HEADING, merged, publishedRow, rowCells, rowJson, socketRow } from '../ports/rows.ts';
import { type OpenSocket, openSockets } from '../ports/sockets.ts';
import { draftRuleBook } from '../rules/load.ts';
import { safeText } from '../safe-text.ts';
import { run, SpawnError } from '../spawn.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';
import { table } from './table.ts';

const PATIENCE_MS = 5000;

export type PortsOptions = CommonOptions & { readonly exposed: boolean };

/** With `exposed`, throws with exit code 1 if there is anything that everyone can reach. */
export async function portsCommand(options: PortsOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  const notes: string[] = [];
  const situation = await look(config, notes);
  const { sockets, complete } = await openSockets();
  if (!complete) notes.push('ss (package iproute2) could not be asked: a socket on :: counts as open to IPv4 too');
  const owners = await ownersOf(new Set(sockets.map(({ inode }) => inode)));
  if (owners.hidden) notes.push('processes of other users are hidden: run it as root to see them');
  if (owners.namespaces > 0)
    notes.push(
      `processes here live in ${owners.namespaces} other network namespaces (containers): their own sockets are not listed, only what is published`,
    );
  const names = await userNames();
  const published = situation.ruleset === undefined ? [] : publishedPorts(situation.ruleset);
  const rows = [
    ...sockets.map((socket) => socketRow(socket, owners, names, situation)),
    ...published.map((each) => publishedRow(each, situation)),
  ];
  const sorted = [...merged(rows)].sort(
    (a, b) => REACHES.indexOf(a.reach) - REACHES.indexOf(b.reach) || a.port - b.port || (a.protocol < b.protocol ? -1 : 1),
  );
  const exposed = sorted.filter(({ reach, passing }) => (reach === 'everyone' || reach === 'unknown') && !passing);
  const left = sorted.filter(({ reach, passing }) => reach === 'everyone' && passing).length;
  if (options.exposed && left > 0)
    notes.push(`${left} UDP socket${left === 1 ? '' : 's'} on ports that the kernel picked left out: programs that ask, most likely`);
  const silent = silentPorts(config.protect, taken(sockets, published));
  const shown = options.exposed ? exposed : sorted;
  if (options.json) {
    output.out(
      JSON.stringify(
        { gate: situation.gate, sockets: shown.map(rowJson), nothing_listens: silent, exposed: exposed.length, notes },
        null,
        2,
      ),
    );
  } else {
    if (shown.length > 0) output.out(table([HEADING, ...shown.map(rowCells)]));
    if (!options.exposed) for (const port of silent) output.out(`nothing listens on ${port}, which is protected`);
    for (const note of notes) output.err(`note: ${note}`);
  }
  if (options.exposed && exposed.length > 0) {
    throw new CommandError(
      1,
      `${exposed.length} port${exposed.length === 1 ? '' : 's'} that everyone can reach: protect, bind to loopback, or stop what you do not mean`,
    );
  }
  if (options.exposed && !options.json) output.out('nothing that everyone can reach');
}

/** What does not belong to a single socket. Whatever cannot be seen is noted, and counts as open. */
async function look(config: Config, notes: string[]): Promise<Situation> {
  const [listing, around, rules, gate] = await Promise.all([
    listRules(config.table),
    surroundings([]),
    draftRuleBook(config, systemClock.wall()),
    gateState(config),
  ]);
  if (listing.kind === 'unknown')
    notes.push(`what other firewalls do could not be seen, so nothing counts as stopped by them: ${safeText(listing.why)}`);
  if (gate === 'down' && config.firewall !== 'none')
    notes.push('THE GATE IS DOWN: protected ports are open to everyone; "posternd gate up" closes them');
  if (gate === 'changed')
    notes.push('SOMEBODY CHANGED THE GATE: whether protected ports are closed cannot be said; "posternd gate up" puts it right');
  if (gate === 'unknown') notes.push('whether the gate is up could not be seen: run it as root');
  if (rules.problems.some(({ severity }) => severity === 'error')) notes.push('the rules are wrong in places: see "posternd check"');
  return { config, gate, ruleset: listing.kind === 'read' ? listing.ruleset : undefined, around, book: rules.draft };
}

/** The daemon's word, which knows whether somebody changed the gate; without one, the kernel's, where only root may look. */
async function gateState(config: Config): Promise<Situation['gate']> {
  if (config.firewall === 'none') return 'down';
  const status = await askDaemon(config.control, { command: 'status' }, StatusReport).catch((error: unknown) => {
    if (error instanceof CommandError) return undefined;
    throw error;
  });
  if (status !== undefined) return status.gate.state === 'none' ? 'down' : status.gate.state;
  const nft = await tableStands(config.table);
  if (nft === 'up') return 'up';
  const iptables = await listIptables(config.table).then(
    (listed) => listed.kind === 'there',
    () => undefined,
  );
  if (iptables === true) return 'up';
  return nft === 'down' ? 'down' : 'unknown';
}

async function tableStands(name: string): Promise<Situation['gate']> {
  try {
    const { code, stderr } = await run(['nft', '-t', 'list', 'table', 'inet', name], { timeoutMs: PATIENCE_MS });
    if (code === 0) return 'up';
    return /No such file/.test(stderr) ? 'down' : 'unknown';
  } catch (error) {
    if (error instanceof SpawnError) return 'unknown';
    throw error;
  }
}

function taken(sockets: readonly OpenSocket[], published: readonly Published[]) {
  const onward = published.flatMap(({ ports }) =>
    Array.from({ length: ports.last - ports.first + 1 }, (_, at) => ({ protocol: ports.protocol, port: ports.first + at })),
  );
  return [...sockets.filter((socket) => familiesOf(socket).length > 0), ...onward];
}
