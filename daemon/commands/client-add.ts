// `posternd client add`: writes a new client into a rule file, and prints the line that it needs to knock.
import { randomBytes } from 'node:crypto';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { changeRules, type FileChange, reloadDaemon, requireWritable, ruleFileText } from '../clients/change-rules.ts';
import { servicesOf } from '../clients/describe.ts';
import type { Entry } from '../clients/entry-text.ts';
import { requireClient } from '../clients/find-client.ts';
import { type AddOptions, allowEntry, clientEntry, readKeyOption, settleTarget } from '../clients/new-client.ts';
import { addEntry } from '../clients/rule-text.ts';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import { loadConfig } from '../config/load.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { safeText } from '../safe-text.ts';
import { changeJson, endAs, requireEdit, tell } from './client-edit.ts';
import { describeServer, makeInvitation, noteInvitation } from './client-invitation.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';

const SECRET_WARNING = [
  'THIS INVITATION IS A SECRET: the private key was made on this server and stands in the line below, nowhere else. Whoever sees the line',
  'can knock as this client. Hand it over in a way that nobody else reads. Better: let the client run "knock keygen" and give you the public line.',
];

export async function clientAddCommand(options: CommonOptions & AddOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  if (!options.dryRun) await requireWritable(config.rules);
  const allow = allowEntry(options, config);
  const secret = options.generate ? secretFromSeed(new Uint8Array(randomBytes(32))) : undefined;
  const keys = secret === undefined ? await readKeyOption(options) : ([['key', formatPublicLine(secret.publicKey, options.name)]] as const);
  const entry = clientEntry(options, keys, systemClock.wall());
  const server = await describeServer(config, options.host);
  const changed = await changeRules(config, options.dryRun, async (book) => {
    refuseKnown(book, options.name);
    const target = await settleTarget(options, config, book);
    return [await planned(target, entry, allow)];
  });
  const client = requireClient(changed.book, options.name);
  const invited = options.dryRun && secret !== undefined ? undefined : makeInvitation(server, client, secret?.seed);
  const reload = options.dryRun ? undefined : await reloadDaemon(config);
  const place = { file: client.place.file, line: client.place.line };
  if (options.json) {
    output.out(
      JSON.stringify(
        {
          client: options.name,
          ...place,
          fingerprints: client.keys.map((key) => key.fingerprint),
          services: servicesOf(client),
          ...changeJson(changed, options.dryRun, reload),
          invitation: invited?.line ?? null,
          invitation_is_secret: secret !== undefined,
          notes: invited?.notes ?? [],
        },
        null,
        2,
      ),
    );
  } else {
    if (!options.dryRun)
      output.out(
        `added ${options.name} at ${safeText(place.file, 300)}:${place.line}; may open ${servicesOf(client).join(' ') || 'nothing'}`,
      );
    tell(changed, options.dryRun, reload, output);
    if (invited !== undefined) await printInvitation(invited.line, secret !== undefined, options, output);
    if (invited !== undefined) noteInvitation(invited, output);
  }
  secret?.seed.fill(0);
  endAs(reload);
}

async function printInvitation(line: string, isSecret: boolean, options: AddOptions, output: Output): Promise<void> {
  if (isSecret) for (const warning of SECRET_WARNING) output.err(warning);
  output.out(
    isSecret
      ? '\nThe invitation. On the client: knock add -  and paste it there:'
      : '\nThe invitation (no secret). On the client: knock add LINE',
  );
  output.out(line);
  if (!options.qr) return;
  const { qrCode } = await import('../clients/qr.ts');
  output.out(qrCode(line));
}

function refuseKnown(book: RuleBook, name: string): void {
  const known = book.clients.find((client) => client.name === name);
  if (known === undefined) return;
  const at = `${safeText(known.place.file, 300)}:${known.place.line}`;
  throw new CommandError(2, `the client "${name}" is defined already at ${at}: choose another name, or change it there`);
}

async function planned(
  target: { readonly path: string; readonly isNew: boolean },
  client: Entry,
  allow: Entry | undefined,
): Promise<FileChange> {
  const { path, isNew } = target;
  const before = isNew ? undefined : await ruleFileText(path);
  const withClient = requireEdit(addEntry(before ?? '', 'clients', client), path).text;
  return { path, before, after: allow === undefined ? withClient : requireEdit(addEntry(withClient, 'allow', allow), path).text };
}
