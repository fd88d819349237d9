// On what a figure was measured: machine, date, versions, revision, command. For the head of every table.
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { run } from '../lab/process.ts';

export async function machineLines(command: string): Promise<readonly string[]> {
  const said = async (argv: readonly string[]): Promise<string> => {
    const { stdout } = await run(argv, { mayFail: true });
    return stdout.trim().split('\n')[0] ?? '';
  };
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? '';
  const revision = await said(['git', 'rev-parse', '--short', 'HEAD']);
  return [
    `- Date: ${new Date().toISOString().slice(0, 10)}, revision ${revision}`,
    `- Machine: ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${system}, Linux ${release()}`,
    `- Versions: Node ${process.version}, ${await said(['nft', '--version'])}`,
    `- Command: \`${command}\``,
  ];
}
