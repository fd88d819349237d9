// The folder of the control socket: made when the daemon starts, and judged by `check` before that. Nothing else is made or judged here.
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CommandError } from '../command-error.ts';
import { type Problem, problemAt } from '../problem.ts';
import { safeText } from '../safe-text.ts';

/** systemd makes it at each start, for the daemon's user (RuntimeDirectory= of the unit). */
const MADE_BY_SYSTEMD = '/run/postern';

/** Makes it where it is missing. Throws a CommandError when that cannot be. */
export async function makeControlFolder(socket: string): Promise<void> {
  try {
    await mkdir(dirname(socket), { recursive: true });
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    throw new CommandError(2, `the folder of the control socket ${safeText(socket, 300)} cannot be made (${code}): ${cure(socket)}`);
  }
}

/** Whether the user that this process is now could make the socket. Asks by the modes: the kernel would answer for another user (access(2)). */
export async function controlFolderProblems(socket: string): Promise<readonly Problem[]> {
  let folder = dirname(socket);
  if (folder === MADE_BY_SYSTEMD) return [];
  for (;;) {
    const found = await stat(folder).catch((error: NodeJS.ErrnoException) => error);
    if (!(found instanceof Error)) {
      const why = !found.isDirectory() ? 'is no folder' : mayWrite(found) ? undefined : "is not writable for the daemon's user";
      if (why === undefined) return [];
      return [
        problemAt(undefined, `no control socket can be made at ${safeText(socket, 300)}: ${safeText(folder, 300)} ${why}`, cure(socket)),
      ];
    }
    // What cannot even be looked at is told by what lies above it.
    if (folder === '/') return [];
    folder = dirname(folder);
  }
}

function mayWrite({ uid, gid, mode }: { readonly uid: number; readonly gid: number; readonly mode: number }): boolean {
  const me = process.geteuid?.() ?? 0;
  if (me === 0) return true;
  if (uid === me) return (mode & 0o300) === 0o300;
  const inGroup = gid === process.getegid?.() || process.getgroups?.().includes(gid) === true;
  return inGroup ? (mode & 0o030) === 0o030 : (mode & 0o003) === 0o003;
}

function cure(socket: string): string {
  return `make ${safeText(dirname(socket), 300)}, owned by the user that posternd runs as, or correct control: in the configuration`;
}
