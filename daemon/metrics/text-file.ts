// Puts a text where node_exporter finds it: always whole, never half-written. What fails is the caller's to tell; nothing else depends on it.
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';

const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/** Replaces the file at `path`, readable by all. The name that is written first does not end in .prom: no collector reads it. */
export async function replaceTextFile(path: string, text: string): Promise<void> {
  const next = `${path}.${process.pid}.new`;
  // What a killed daemon with this number left behind.
  await rm(next, { force: true });
  try {
    const handle = await open(next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
    try {
      await handle.writeFile(text);
      // The umask of a service hides it from the collector.
      await handle.chmod(0o644);
    } finally {
      await handle.close();
    }
    await rename(next, path);
  } catch (error) {
    await rm(next, { force: true }).catch(() => undefined);
    throw error;
  }
}
