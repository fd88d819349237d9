// The invitation line of a client, as `posternd client add` and `show` print it, and what has to be said beside it.
import { hostname } from 'node:os';
import type { PublicKey } from '../../protocol/identity.ts';
import { formatInvitation } from '../../protocol/invitation.ts';
import { isHost } from '../../protocol/invitation-body.ts';
import { canonicalHost, hostDoubt, inviteOf } from '../clients/invite.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { formatProblem, quoted } from '../problem.ts';
import type { Client } from '../rules/rulebook.ts';
import { readServerKeys } from '../server-keys.ts';
import type { Output } from './options.ts';

export type Invited = { readonly line: string; readonly notes: readonly string[] };

/** What invitations say of this server. Found out before anything is written: without it there is no invitation. */
export type Server = { readonly config: Config; readonly serverKey: PublicKey; readonly host: string; readonly doubt: string | undefined };

/** `host` undefined: this machine's name, whatever that is worth. Throws a CommandError when there can be no invitation. */
export async function describeServer(config: Config, host: string | undefined): Promise<Server> {
  const name = canonicalHost(host ?? hostname());
  if (!isHost(name)) {
    const what = `${quoted(host ?? name)} is no host name and no address`;
    throw new CommandError(2, host === undefined ? `${what}: say with --host how clients reach this server` : `--host: ${what}`);
  }
  return { config, serverKey: await publicServerKey(config), host: name, doubt: await hostDoubt(name, host !== undefined) };
}

/** Services that find no room are left out, and told. */
export function makeInvitation({ config, serverKey, host, doubt }: Server, client: Client, seed: Uint8Array | undefined): Invited {
  const { invitation, left } = inviteOf({ client, config, serverKey, host, seed });
  const notes = [
    ...(doubt === undefined ? [] : [`warning: ${doubt}`]),
    ...(left.length === 0 ? [] : [`warning: the invitation has no room for ${left.length} services: ${left.slice(0, 8).join(', ')}`]),
    ...(invitation.needsPsk
      ? [`note: "${client.name}" also needs the pre-shared key (psk_file), which no invitation holds: hand it over by itself`]
      : []),
  ];
  return { line: formatInvitation(invitation), notes };
}

export function noteInvitation({ notes }: Invited, output: Output): void {
  for (const note of notes) output.err(note);
}

/** Of several, the first: it is the one that stays when keys are rotated. */
async function publicServerKey(config: Config): Promise<PublicKey> {
  const { secrets, problems } = await readServerKeys(config);
  const [first] = secrets;
  if (first !== undefined) return first.publicKey;
  const closed = problems.some(({ message }) => message.startsWith('no permission'));
  throw new CommandError(closed ? 3 : 2, problems.map(formatProblem).join('\n'));
}
