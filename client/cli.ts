// Takes one command line apart and runs what it asks for. Each part is loaded only when it is needed: starting is most of a knock's time.
import { usageError } from './command-error.ts';
import { COMPLETE_WORD } from './knock-flags.ts';
import { checkOptions } from './options.ts';
import type { Line } from './program.ts';
import { readQuickly } from './quick-line.ts';
import type { World } from './world.ts';

/** Runs one command line (without node and script). Gives the exit code; throws CommandError for what the user did wrong. */
export async function runCli(argv: readonly string[], world: World): Promise<number> {
  if (argv[0] === COMPLETE_WORD) {
    const { completeKnock } = await import('./completing.ts');
    return await completeKnock(argv.slice(1), world);
  }
  const split = argv.indexOf('--');
  const own = split < 0 ? argv : argv.slice(0, split);
  const command = split < 0 ? [] : argv.slice(split + 1);
  if (split >= 0 && command.length === 0) throw usageError(['nothing stands after --: write the command to run, or leave -- out']);
  const line = await readLine(own, world);
  switch (line.kind) {
    case 'printed':
      return line.exitCode;
    case 'completion': {
      const { printCompletion } = await import('./completing.ts');
      return printCompletion(line.shell, world);
    }
    case 'keygen': {
      if (command.length > 0) throw usageError(['knock keygen takes no command after --']);
      const { keygen } = await import('./keygen.ts');
      return await keygen(line.options, world);
    }
    case 'proxy': {
      if (command.length > 0) throw usageError(['knock proxy takes no command after --']);
      const { proxyCommand } = await import('./proxy-command.ts');
      return await proxyCommand(line, world);
    }
    case 'doctor': {
      if (command.length > 0) throw usageError(['knock doctor takes no command after --']);
      const options = checkOptions(line.host, line.services, [], line.raw);
      const { doctor } = await import('./doctor.ts');
      return await doctor(options, world);
    }
    case 'add': {
      if (command.length > 0) throw usageError(['knock add takes no command after --']);
      const { addCommand } = await import('./add-command.ts');
      return await addCommand(line.invitation, line.options, world);
    }
    case 'profiles': {
      if (command.length > 0) throw usageError(['knock profiles takes no command after --']);
      const { profilesCommand } = await import('./profiles-command.ts');
      return profilesCommand(line.action, line.options, world);
    }
    case 'hold': {
      if (command.length > 0) throw usageError(['knock hold takes no command after --']);
      const { holdCommand } = await import('./hold-command.ts');
      return await holdCommand(line, world);
    }
    case 'knock': {
      if (line.action === 'close' && command.length > 0) throw usageError(['knock close takes no command after --']);
      const options = checkOptions(line.host, line.services, command, line.raw);
      const { knockCommand } = await import('./knock-command.ts');
      return await knockCommand(line.action, options, world);
    }
  }
}

async function readLine(argv: readonly string[], world: World): Promise<Line> {
  const quick = readQuickly(argv);
  if (quick !== undefined) return quick;
  const { readFully } = await import('./program.ts');
  return readFully(argv, world);
}
