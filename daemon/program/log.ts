// The definitions of the commands about the audit log: log, log verify.
import type { Command } from 'commander';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

type LogFlags = Globals & { readonly follow?: boolean; readonly client?: string; readonly since?: string; readonly until?: string };
type VerifyFlags = Globals & { readonly head?: readonly string[]; readonly heads?: string };

/** Adds them to `root`. */
export function defineLog(root: Command, globals: Settle): void {
  const log = common(root.command('log'))
    .description('who knocked, when, from where, and what came of it: the audit log, also of renamed files')
    .option('-f, --follow', 'go on with what comes, until Ctrl-C')
    .option('--client <name>', 'only what concerns this client')
    .option('--since <time>', 'only from then on: 1h, 7d (ago), yesterday, 2026-11-21, "2026-11-21 22:00"')
    .option('--until <time>', 'only up to then')
    .addHelpText(
      'after',
      '\nWith --json each line stands as it stands in the file. Works without the daemon.' +
        '\n\nExamples:\n  sudo posternd log --since 12h\n  sudo posternd log --client alice --since 2026-11-20 --until 2026-11-21' +
        '\n  sudo posternd log --follow\n  sudo posternd log --json | jq -r \'select(.event == "refused") | .client\'',
    )
    .action(async (options: LogFlags) => {
      const { logCommand } = await import('../commands/log.ts');
      const { follow = false, client, since, until } = options;
      await logCommand({ ...globals(options), follow, client, since, until }, processOutput);
    });
  common(log.command('verify'))
    .description('was a line changed, removed, moved or put in? does each signature hold? 1 when not')
    .argument('[files...]', 'other files than those of the configuration (copies, an archive)')
    .option('--head <hash>', 'a head of the chain that the log must hold; may be repeated', collect)
    .option('--heads <file>', 'the same, all that stand in a journal: - for standard input')
    .addHelpText(
      'after',
      "\nA signature proves that the holder of the client's key asked this server for this; not when it arrived, nor from where. Whoever can write the" +
        '\nfile can cut its end off, or compute the chain anew without lines that no client signed: the heads in the journal show that.' +
        '\n\nExamples:\n  sudo posternd log verify\n  journalctl -u posternd -o cat | sudo posternd log verify --heads -' +
        '\n  posternd log verify audit.jsonl.1 audit.jsonl      copies, on another machine',
    )
    .action(async (files: string[], options: VerifyFlags) => {
      const { logVerifyCommand } = await import('../commands/log-verify.ts');
      // `posternd log -c FILE verify` is the same as `posternd log verify -c FILE`.
      const common = globals({ ...log.opts<Globals>(), ...options });
      await logVerifyCommand({ ...common, files, heads: options.head ?? [], headsFile: options.heads }, processOutput);
    });
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
