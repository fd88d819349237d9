// On what a figure was measured: machine, date, versions, revision. For the head of every table.
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { run } from '../lab/process.ts';

export type MachineFacts = { readonly date: string; readonly revision: string; readonly machine: readonly string[] };

export async function machineFacts(): Promise<MachineFacts> {
  const said = async (argv: readonly string[]): Promise<string> => {
    const { stdout } = await run(argv, { mayFail: true });
    return stdout.trim().split('\n')[0] ?? '';
  };
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? '';
  const packages = ['fwknop-server', 'knockd', 'netsniff-ng'];
  const versions = await Promise.all(
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholder
    packages.map(async (name) => `${name} ${(await said(['dpkg-query', '-W', '-f', '${Version}', name])) || 'not installed'}`),
  );
  return {
    date: new Date().toISOString().slice(0, 10),
    revision: await said(['git', 'rev-parse', '--short', 'HEAD']),
    machine: [
      `Machine: ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${system}, Linux ${release()}`,
      `Versions: Node ${process.version}, ${await said(['nft', '--version'])}, ${await said(['iptables', '--version'])}, ${versions.join(', ')}`,
    ],
  };
}

export async function machineLines(command: string): Promise<readonly string[]> {
  const { date, revision, machine } = await machineFacts();
  return [`Date: ${date}, revision ${revision}`, ...machine, `Command: \`${command}\``].map((line) => `- ${line}`);
}
