// A line of text as a QR code for a terminal: two rows of modules in each line of half blocks.
import { encode } from 'uqr';

/** Fixed by ISO 18004: light modules around it. */
const QUIET_MODULES = 4;

/**
 * Light modules are drawn and dark ones left out, which is right on a dark terminal; with `colors` (a terminal that shows them) both are
 * drawn, which is right on any.
 */
export function qrCode(text: string, colors = process.stdout.isTTY === true && !process.env['NO_COLOR']): string {
  const { data, size } = encode(text, { ecc: 'L', border: 0 });
  const dark = (row: number, column: number): boolean => data[row]?.[column] === true;
  const lines: string[] = [];
  for (let row = -QUIET_MODULES; row < size + QUIET_MODULES; row += 2) {
    let line = '';
    for (let column = -QUIET_MODULES; column < size + QUIET_MODULES; column += 1) {
      line += BLOCKS[dark(row, column) ? 1 : 0][dark(row + 1, column) || row + 1 >= size + QUIET_MODULES ? 1 : 0];
    }
    lines.push(colors ? `\x1b[97;40m${line}\x1b[0m` : line);
  }
  return lines.join('\n');
}

/** By whether the upper and the lower module is dark. */
const BLOCKS = [
  ['█', '▀'],
  ['▄', ' '],
] as const;
