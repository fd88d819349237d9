// posternd's command line as a whole: the root command and all its subcommands. It parses nothing and exits nowhere.
import { Command } from 'commander';
import { processOutput } from '../commands/options.ts';
import { VERSION } from '../version.ts';
import { defineClients } from './clients.ts';
import { settleFor } from './definition.ts';
import { defineExplain } from './explain.ts';
import { defineGate } from './gate.ts';
import { defineGrants } from './grants.ts';
import { defineLog } from './log.ts';
import { definePorts } from './ports.ts';
import { defineService } from './service.ts';
import { usageLine } from './usage-line.ts';

const ROOT_HELP = `
Examples:
  sudo posternd init             make /etc/postern
  sudo posternd check            is everything right?
  sudo posternd status           who is in, and what was refused
  sudo posternd client --help    let somebody in, or out
  sudo posternd log --since 12h  who knocked last night
  sudo posternd -c /srv/second/postern.yaml status

Exit codes: 0 done, 1 it did not work, 2 wrong usage or configuration, 3 not permitted.`;

/** The whole command line of posternd, as it parses, helps and documents itself. */
export function posterndProgram(): Command {
  const root = new Command('posternd')
    .description('Keeps protected ports closed, and opens them for a short time to clients that knock.')
    .version(VERSION)
    .option('-c, --config <file>', 'the configuration file, here or behind the command')
    .exitOverride()
    .showSuggestionAfterError()
    // So that `posternd -c FILE status` is the same as `posternd status -c FILE`.
    .enablePositionalOptions()
    .configureOutput({
      writeOut: (text) => processOutput.out(text.trimEnd()),
      writeErr: (text) => processOutput.err(text.trimEnd()),
    })
    .configureHelp({ sortSubcommands: false })
    .addHelpText('after', ROOT_HELP);

  const globals = settleFor(root);
  defineService(root, globals);
  defineGate(root, globals);
  defineGrants(root, globals);
  defineClients(root, globals);
  defineLog(root, globals);
  defineExplain(root, globals);
  definePorts(root, globals);
  speakFor(root);
  return root;
}

/** Each command complains in its own name, so that the help it points at is the one that has the answer. */
function speakFor(command: Command): void {
  command.configureOutput({ outputError: (text, put) => put(usageLine(text, command)) });
  for (const each of command.commands) speakFor(each);
}
