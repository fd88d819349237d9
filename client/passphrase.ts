// Gets a passphrase: from KNOCK_PASSPHRASE_FILE, or from the terminal without echo. Never from an argument or a variable (P38).
import { closeSync, openSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { CommandError } from './command-error.ts';
import { quote } from './quote.ts';
import { readSecretFile } from './secret-file.ts';
import type { World } from './world.ts';

const CTRL_C = 0x03;
const CTRL_D = 0x04;
const CTRL_U = 0x15;
const BACKSPACES = new Set([0x08, 0x7f]);
const LINE_ENDS = new Set([0x0a, 0x0d]);

/** The passphrase that KNOCK_PASSPHRASE_FILE holds (without its last line end), or undefined when the variable is not set. */
export function passphraseFromFile(world: World): Uint8Array | undefined {
  const path = world.env['KNOCK_PASSPHRASE_FILE'];
  if (path === undefined || path === '') return undefined;
  const content = readSecretFile(path, 'passphrase file', world);
  if (content === undefined) throw new CommandError(2, 'no-passphrase', `KNOCK_PASSPHRASE_FILE names ${quote(path)}, which does not exist`);
  let end = content.length;
  if (content[end - 1] === 0x0a) end -= 1;
  if (content[end - 1] === 0x0d) end -= 1;
  return new Uint8Array(content.subarray(0, end));
}

/** Asks on the terminal, not on standard input: that may be a pipe that belongs to something else. Undefined without a terminal. */
export async function askPassphrase(question: string, world: World): Promise<Uint8Array | undefined> {
  const terminal = openTerminal(world);
  if (terminal === undefined) return undefined;
  try {
    // Before the question: whoever answers fast must not see the answer on the screen.
    terminal.stream.setRawMode(true);
    world.err(question);
    return await readLine(terminal.stream);
  } finally {
    terminal.stream.setRawMode(false);
    terminal.close();
    world.err('\n');
  }
}

type Terminal = { readonly stream: ReadStream; readonly close: () => void };

function openTerminal(world: World): Terminal | undefined {
  if (world.platform === 'win32') {
    const { stdin } = process;
    return stdin instanceof ReadStream ? { stream: stdin, close: () => stdin.pause() } : undefined;
  }
  let descriptor: number;
  try {
    descriptor = openSync('/dev/tty', 'r');
  } catch {
    return undefined;
  }
  try {
    const stream = new ReadStream(descriptor);
    return { stream, close: () => stream.destroy() };
  } catch {
    closeSync(descriptor);
    return undefined;
  }
}

async function readLine(stream: ReadStream): Promise<Uint8Array> {
  const typed: number[] = [];
  return await new Promise((resolve, reject) => {
    const finish = (error?: CommandError) => {
      stream.off('data', onData);
      stream.off('end', onEnd);
      if (error === undefined) resolve(Uint8Array.from(typed));
      else reject(error);
    };
    const interrupted = () => new CommandError(130, 'interrupted', 'interrupted');
    const onEnd = () => finish(interrupted());
    const onData = (chunk: Buffer) => {
      for (const byte of chunk) {
        if (LINE_ENDS.has(byte)) return finish();
        if (byte === CTRL_C || (byte === CTRL_D && typed.length === 0)) return finish(interrupted());
        if (byte === CTRL_U) typed.length = 0;
        else if (BACKSPACES.has(byte)) dropCharacter(typed);
        else if (byte !== CTRL_D) typed.push(byte);
      }
    };
    stream.on('data', onData);
    stream.on('end', onEnd);
  });
}

/** Takes back one character, which in UTF-8 may be several bytes. */
function dropCharacter(typed: number[]): void {
  while (typed.length > 0) {
    const byte = typed.pop() ?? 0;
    if ((byte & 0xc0) !== 0x80) return;
  }
}
