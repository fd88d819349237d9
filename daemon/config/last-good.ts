// The last configuration with which a gate stood, kept beside the ledger: a mistake in the file must not leave a server open at the next boot.
// Used for the gate alone, never for a daemon, and never without saying so.
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../fresh-file.ts';
import type { Config } from './config.ts';
import { draftConfig, interpretConfig, MAX_CONFIG_BYTES } from './load.ts';
import { systemServiceNames } from './service-names.ts';
import { readTrustedFile } from './trusted-file.ts';
import { readYaml } from './yaml-source.ts';

const NAME = 'last-good-config.json';
/** Where `posternd init` puts the state, for when the file is too broken to say it. */
const usualStates = (file: string): readonly string[] => [join(dirname(file), 'state'), '/var/lib/postern'];

const Kept = z.strictObject({ file: z.string(), text: z.string() });

/** Keeps the text that the gate stands by now. That it cannot be kept is no reason not to stand: the answer is a sentence for the log. */
export async function keepLastGood(config: Config): Promise<string | undefined> {
  const path = join(config.state, NAME);
  const read = await readTrustedFile(config.file, 'config', MAX_CONFIG_BYTES);
  // Changed since it was loaded: what stands there now is not known to be good.
  if (!read.ok || !isGood(await interpret(config.file, read.bytes))) return undefined;
  const text = JSON.stringify({ file: config.file, text: read.bytes.toString('utf8') });
  // The boot unit cannot write there, and need not where it is kept already: no complaint at each boot.
  const kept = await readTrustedFile(path, 'config', 2 * MAX_CONFIG_BYTES);
  if (kept.ok && kept.bytes.toString('utf8') === text) return undefined;
  try {
    replaceFile(path, text);
    return undefined;
  } catch (error) {
    return `the configuration could not be kept for a boot with a broken one (${(error as NodeJS.ErrnoException).code ?? 'error'}: ${path})`;
  }
}

/** For a file that is wrong: the last configuration that was right, of this same file, or undefined. */
export async function recallLastGood(file: string): Promise<Config | undefined> {
  const { draft } = await draftConfig(file);
  for (const state of new Set([...(draft === undefined ? [] : [draft.state]), ...usualStates(file)])) {
    const read = await readTrustedFile(join(state, NAME), 'config', 2 * MAX_CONFIG_BYTES);
    const kept = read.ok ? Kept.safeParse(readJson(read.bytes)) : undefined;
    if (kept?.success !== true || kept.data.file !== file) continue;
    const interpreted = await interpret(file, Buffer.from(kept.data.text));
    if (isGood(interpreted)) return interpreted.draft;
  }
  return undefined;
}

type Interpreted = ReturnType<typeof interpretConfig>;

async function interpret(file: string, bytes: Buffer): Promise<Interpreted> {
  return interpretConfig(readYaml(file, bytes), file, await systemServiceNames());
}

function isGood(interpreted: Interpreted): boolean {
  return interpreted.draft !== undefined && !interpreted.problems.some(({ severity }) => severity === 'error');
}

function readJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}
