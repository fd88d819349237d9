// A terminal's other screen for as long as something is shown on it: keys come one by one, and whatever ends the process gives the terminal back.
import { writeSync } from 'node:fs';
import type { ReadStream, WriteStream } from 'node:tty';

export type Key = 'quit' | 'interrupt' | 'up' | 'down' | 'page-up' | 'page-down' | 'top' | 'redraw';

export type Screen = {
  readonly size: () => { readonly columns: number; readonly rows: number };
  /** One line for each row. */
  readonly show: (lines: readonly string[]) => void;
  readonly close: () => void;
};

const STDOUT = 1;
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const KEYS: ReadonlyMap<string, Key> = new Map([
  ['q', 'quit'],
  ['Q', 'quit'],
  ['\x03', 'interrupt'],
  ['\x04', 'quit'],
  ['\x1b[A', 'up'],
  ['\x1bOA', 'up'],
  ['k', 'up'],
  ['\x1b[B', 'down'],
  ['\x1bOB', 'down'],
  ['j', 'down'],
  ['\x1b[5~', 'page-up'],
  ['\x1b[6~', 'page-down'],
  ['\x1b[H', 'top'],
  ['\x0c', 'redraw'],
]);

/** Both streams must be terminals, the second standard output. `onKey` is also told of `redraw` when the size changed. */
export function openScreen(input: ReadStream, output: WriteStream, onKey: (key: Key) => void): Screen {
  let isOpen = true;
  const onData = (text: string): void => {
    // Several keys may come at once: an arrow is three characters.
    for (const [each] of text.matchAll(/\x1b(?:\[\d*~|\[[A-Z]|O[A-Z])|[\s\S]/g)) {
      const key = KEYS.get(each);
      if (key !== undefined) onKey(key);
    }
  };
  const onResize = (): void => onKey('redraw');
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    input.off('data', onData);
    output.off('resize', onResize);
    process.off('exit', close);
    try {
      input.setRawMode(false);
      // Synchronously: this also runs while the process ends, for whatever reason.
      writeSync(STDOUT, LEAVE);
    } catch {
      // A terminal that is gone needs nothing back.
    }
    input.pause();
  };
  process.once('exit', close);
  // A terminal that is gone: nothing can be shown, and nothing must fail over it.
  output.on('error', () => onKey('quit'));
  input.on('error', () => onKey('quit'));
  input.on('end', () => onKey('quit'));
  input.setRawMode(true);
  input.setEncoding('utf8');
  input.on('data', onData);
  output.on('resize', onResize);
  output.write(ENTER);
  return {
    size: () => ({ columns: Math.max(1, output.columns), rows: Math.max(1, output.rows) }),
    // Each line is written over the old one and the rest of its row cleared: no flicker.
    show: (lines) => {
      if (isOpen) output.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`);
    },
    close,
  };
}
