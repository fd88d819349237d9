// `posternd client list` and `show`: who may knock, and for what. Reads the rule files; changes nothing.
import { formatPublicLine } from '../../protocol/openssh.ts';
import { clientJson, conditionsOf, entryJson, servicesOf, standing } from '../clients/describe.ts';
import { requireClient } from '../clients/find-client.ts';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatProblem } from '../problem.ts';
import { draftRuleBook } from '../rules/load.ts';
import type { Client, RuleBook } from '../rules/rulebook.ts';
import { safeText } from '../safe-text.ts';
import { describeServer, makeInvitation, noteInvitation } from './client-invitation.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';
import { table } from './table.ts';

const DAY_MS = 86_400_000;

export async function clientListCommand(options: CommonOptions, output: Output): Promise<void> {
  const { book, problems } = await readBook(requireConfig(await loadConfig(options.config)));
  const now = systemClock.wall();
  if (options.json) {
    output.out(JSON.stringify({ clients: book.clients.map((client) => clientJson(client, now)), problems }, null, 2));
  } else if (book.clients.length === 0) output.out('there are no clients yet: "posternd client add" adds one');
  else {
    const rows = book.clients.map((client) => [
      client.name,
      standing(client, now),
      expiry(client),
      servicesOf(client).join(' ') || '-',
      placeOf(client),
    ]);
    output.out(table([['CLIENT', 'STATE', 'UNTIL', 'MAY OPEN', 'DEFINED AT'], ...rows]));
  }
  endAsWrong(problems);
}

export type ShowOptions = CommonOptions & { readonly name: string; readonly host: string | undefined; readonly qr: boolean };

/** With the invitation again: it holds no secret, and people lose things. */
export async function clientShowCommand(options: ShowOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  const { book, problems } = await readBook(config);
  const client = requireClient(book, options.name);
  const now = systemClock.wall();
  const server = await describeServer(config, options.host);
  const invited = makeInvitation(server, client, undefined);
  if (options.json) {
    const allow = client.allow.map(entryJson);
    output.out(
      JSON.stringify({ ...clientJson(client, now), public_keys: publicLines(client), allow, invitation: invited.line, problems }, null, 2),
    );
  } else {
    const facts: (readonly [string, string])[] = [
      ['client', `${client.name}, ${standing(client, now)}`],
      ['defined', placeOf(client)],
      ...client.keys.map(
        (key) =>
          ['key', key.fingerprint + (key.from === undefined ? '' : `, from ${key.from.map(({ text }) => text).join(', ')}`)] as const,
      ),
      ['until', expiry(client)],
      ['knocks', `${client.slots} a minute${client.presharedKeys.length > 0 ? ', with a pre-shared key' : ''}`],
      ...client.allow.map((entry) => {
        const names = entry.services.map(({ name }) => name).join(' ');
        return [
          'may open',
          `${names} (${conditionsOf(entry).join('; ')}), ${safeText(entry.place.file, 300)}:${entry.place.line}`,
        ] as const;
      }),
    ];
    for (const [what, text] of facts) output.out(`${what.padEnd(10)}${text}`);
    output.out(`\nThe invitation to ${server.host} (no secret; on the client: knock add LINE):\n${invited.line}`);
    if (options.qr) output.out(await qrText(invited.line));
    noteInvitation(invited, output);
  }
  endAsWrong(problems);
}

async function qrText(line: string): Promise<string> {
  const { qrCode } = await import('../clients/qr.ts');
  return qrCode(line);
}

/** What could be read; problems are errors in one line each. */
async function readBook(config: Config): Promise<{ readonly book: RuleBook; readonly problems: readonly string[] }> {
  const { draft, problems } = await draftRuleBook(config, systemClock.wall());
  return { book: draft, problems: problems.filter(({ severity }) => severity === 'error').map(formatProblem) };
}

/** What was shown is then not all there is. */
function endAsWrong(problems: readonly string[]): void {
  if (problems.length > 0) throw new CommandError(2, problems.slice(0, 20).join('\n'));
}

function publicLines(client: Client): readonly string[] {
  return client.keys.map(({ publicKey }) => formatPublicLine(publicKey, client.name));
}

/** A client that ends with a day is said to last until that day, as the file has it. */
function expiry({ expiresAtMs }: Client): string {
  if (expiresAtMs === undefined) return '-';
  if (expiresAtMs % DAY_MS === 0) return new Date(expiresAtMs - 1).toISOString().slice(0, 10);
  return new Date(expiresAtMs).toISOString().replace(/:\d\d\.\d{3}Z$/, 'Z');
}

function placeOf({ place }: Client): string {
  return `${safeText(place.file, 300)}:${place.line}`;
}
