// The definitions of `posternd client …`: who may knock.
import { type Command, Option } from 'commander';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

type AddFlags = Globals & {
  key?: string;
  keysFile?: string;
  generate?: boolean;
  file?: string;
  services?: string;
  ttl?: string;
  maxTtl?: string;
  from?: string;
  once?: boolean;
  expires?: string;
  slots?: string;
  host?: string;
  qr?: boolean;
  dryRun?: boolean;
};

/** Adds them to `root`. */
export function defineClients(root: Command, globals: Settle): void {
  const client = root
    .command('client')
    .description('who may knock: add, list, show, enable, disable, remove; edits the rule files as you would');
  defineAdd(client, globals);
  common(client.command('list'))
    .description('everybody in the rules: name, state, until when, what they may open, where they are defined')
    .addHelpText(
      'after',
      '\nExamples:\n  sudo posternd client list\n  sudo posternd client list --json | jq -r \'.clients[] | select(.state != "enabled").name\'',
    )
    .action(async (options: Globals) => {
      const { clientListCommand } = await import('../commands/client-list.ts');
      await clientListCommand(globals(options), processOutput);
    });
  common(client.command('show'))
    .description('one client: keys, conditions and the places of the rules, and the invitation again')
    .argument('<name>', 'the client')
    .option('--host <name>', 'how clients reach this server (default: its host name)')
    .option('--qr', 'the invitation as a QR code too')
    .addHelpText('after', '\nExamples:\n  sudo posternd client show alice\n  sudo posternd client show alice --host web1.example.org --qr')
    .action(async (name: string, options: Globals & { host?: string; qr?: boolean }) => {
      const { clientShowCommand } = await import('../commands/client-list.ts');
      await clientShowCommand({ ...globals(options), name, host: options.host, qr: options.qr === true }, processOutput);
    });
  const edits = [
    ['disable', "refuse a client from now on; its grants end, nobody else's do", ''],
    ['enable', 'let a client knock again', ''],
    [
      'remove',
      "take a client out of all rule files; its grants end, nobody else's do",
      '\nThe comment right above an entry goes with it (of the first entry it stays: it may head the list). Files that the entry names stay.',
    ],
  ] as const;
  for (const [action, description, more] of edits) {
    common(client.command(action))
      .description(description)
      .argument('<name>', 'the client')
      .option('--dry-run', 'show what would change in which file, and write nothing')
      .addHelpText('after', `${more}\nExamples:\n  sudo posternd client ${action} alice\n  sudo posternd client ${action} alice --dry-run`)
      .action(async (name: string, options: Globals & { dryRun?: boolean }) => {
        const { clientEditCommand } = await import('../commands/client-edit.ts');
        await clientEditCommand({ ...globals(options), action, name, dryRun: options.dryRun === true }, processOutput);
      });
  }
}

function defineAdd(client: Command, globals: Settle): void {
  common(client.command('add'))
    .description('write a client into a rule file, tell the running daemon, and print the invitation line for it')
    .argument('<name>', 'what logs and lists call the client: letters, digits and . _ @ -')
    .option('--key <line>', 'its public key: the ssh-ed25519 line, a .pub file, or - to read it from standard input')
    .option('--keys-file <file>', 'an authorized_keys file: its ssh-ed25519 lines are the keys')
    .addOption(new Option('--generate', 'make its key here; the invitation is then a secret').conflicts(['key', 'keysFile']))
    .option('--services <list>', 'what it may open, by commas: ssh,tcp/8443; the client gets a rule file of its own')
    .option('--file <file>', 'the rule file to write to; without --services the client gets what that file allows')
    .option('--ttl <duration>', 'with --services: how long a grant lasts when the knock does not say')
    .option('--max-ttl <duration>', 'with --services: the most that a knock can ask for')
    .option('--from <networks>', 'with --services: source networks, by commas')
    .option('--once', 'with --services: each grant admits one connection')
    .option('--expires <date>', 'the last day, 2027-03-31 (UTC), or a time with its zone')
    .option('--slots <number>', 'knocks a minute, 1 to 64 (default 16)')
    .option('--host <name>', 'how clients reach this server, for the invitation (default: its host name)')
    .option('--qr', 'the invitation as a QR code too')
    .option('--dry-run', 'show what would change, and write nothing')
    .addHelpText(
      'after',
      '\nEverything else in the file stays, letter for letter. The rules are checked with the change before anything is written.' +
        '\n\nExamples:\n  sudo posternd client add alice --key "ssh-ed25519 AAAA... alice@laptop" --services ssh' +
        '\n  sudo posternd client add bob --key bob.pub --file ops.yaml --expires 2027-03-31' +
        '\n  sudo posternd client add phone --generate --services ssh --host web1.example.org --qr',
    )
    .action(async (name: string, flags: AddFlags) => {
      const { clientAddCommand } = await import('../commands/client-add.ts');
      const { key, keysFile, file, services, ttl, maxTtl, from, expires, slots, host } = flags;
      const asked = { name, key, keysFile, file, services, ttl, maxTtl, from, expires, slots, host };
      const [generate, once] = [flags.generate === true, flags.once === true];
      await clientAddCommand(
        { ...globals(flags), ...asked, generate, once, qr: flags.qr === true, dryRun: flags.dryRun === true },
        processOutput,
      );
    });
}
