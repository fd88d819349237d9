// For `posternd gate show`: what of ours stands in iptables and ipset, as their own tools print it. Reads only.
import { run, SpawnError } from '../../spawn.ts';
import { namesOf } from './names.ts';
import { setNames } from './sets.ts';

const TIME_LIMIT_MS = 10_000;

export type Listing = { readonly kind: 'absent' } | { readonly kind: 'there'; readonly text: string };

export async function listIptables(table: string): Promise<Listing> {
  const names = namesOf(table);
  const parts: string[] = [];
  for (const program of ['iptables-save', 'ip6tables-save']) {
    const { stdout } = await listed([program, '--table', 'mangle']);
    const lines = stdout
      .split('\n')
      .filter((line) => names.isOwn(/^(?::|-A )(\S+)/.exec(line)?.[1] ?? '') || line.endsWith(`-j ${names.entry}`));
    if (lines.length > 0) parts.push(`# ${program} --table mangle`, ...lines, '');
  }
  if (parts.length === 0) return { kind: 'absent' };
  const sets = await listed(
    ['ipset', '-'],
    setNames(names)
      .map((name) => `list -t ${name}\n`)
      .join(''),
  );
  parts.push(
    ...sets.stdout.split('\n').flatMap((line) => /^(?:ipset> )*(Name|Number of entries): (.*)$/.exec(line)?.slice(1, 3).join(' ') ?? []),
  );
  return { kind: 'there', text: parts.join('\n').trimEnd() };
}

async function listed(argv: readonly string[], stdin = ''): Promise<{ readonly stdout: string }> {
  try {
    return await run(argv, { stdin, timeoutMs: TIME_LIMIT_MS });
  } catch (error) {
    if (error instanceof SpawnError) return { stdout: '' };
    throw error;
  }
}
