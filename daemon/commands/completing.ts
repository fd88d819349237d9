// Answers the shells' completion of `posternd`: the definitions know the words, the configuration, the rules and the running daemon know names.
// Reads only, waits for nobody long, and says nothing about what it may not read.
import { networkInterfaces } from 'node:os';
import { formatPortRange } from '../../protocol/ports.ts';
import type { Before, Candidate, Sources } from '../../shell/complete.ts';
import { answerShell } from '../../shell/completion-script.ts';
import { systemClock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { overlap } from '../config/ranges.ts';
import { askDaemon } from '../control/ask.ts';
import { GrantsReport } from '../control/messages.ts';
import { posterndProgram } from '../program/program.ts';
import { draftRuleBook } from '../rules/load.ts';
import { DEFAULT_CONFIG, type Output } from './options.ts';

/** Prints what may stand next; `args` come from the script. */
export async function completePosternd(args: readonly string[], output: Output): Promise<void> {
  for (const line of await answerShell(posterndProgram(), args, SOURCES)) output.out(line);
}

/** `who` is whoever a grant can be of, or a grant; `client` somebody of the rules; `services` what a rule can give. */
const SOURCES: Sources = {
  // Without a daemon there are no grants, but there are clients.
  who: async (before) => [...(await grants(before).catch(() => [])), ...(await clients(before))],
  client: clients,
  name: clients,
  service: services,
  services,
  list: services,
  interface: async () => Object.keys(networkInterfaces()).map((word) => ({ word, about: 'interface' })),
};

async function configOf(before: Before): Promise<Config | undefined> {
  return (await loadConfig(before.options['config'] ?? process.env['POSTERN_CONFIG'] ?? DEFAULT_CONFIG)).config;
}

async function clients(before: Before): Promise<readonly Candidate[]> {
  const config = await configOf(before);
  if (config === undefined) return [];
  const { draft } = await draftRuleBook(config, systemClock.wall());
  return draft.clients.map(({ name, enabled }) => ({ word: name, about: enabled ? 'client' : 'client, not enabled' }));
}

async function grants(before: Before): Promise<readonly Candidate[]> {
  const config = await configOf(before);
  if (config === undefined) return [];
  const live = (await askDaemon(config.control, { command: 'grants' }, GrantsReport)).grants;
  return [
    ...live.map(({ id, client, address, service }) => ({ word: id, about: `${service} for ${client} at ${address}` })),
    ...live.map(({ address, client }) => ({ word: address, about: `where ${client} is in from` })),
  ];
}

async function services(before: Before): Promise<readonly Candidate[]> {
  const config = await configOf(before);
  if (config === undefined) return [];
  const shown = (ports: Config['protect']) => ports.map(formatPortRange).join(' ');
  const named = [...config.services].filter(([, ports]) => ports.some((port) => config.protect.some((other) => overlap(port, other))));
  return [
    ...named.map(([word, ports]) => ({ word, about: shown(ports) })),
    ...config.protect.map((port) => ({ word: formatPortRange(port), about: 'protected' })),
  ];
}
