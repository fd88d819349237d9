// The QR code of an invitation is read back by somebody else's reader, as a camera would see the terminal.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import jsQr from 'jsqr';
import { qrCode } from '../../daemon/clients/qr.ts';
import { MAX_INVITATION_BYTES } from '../../protocol/invitation.ts';
import { VECTORS } from './protocol-vector-file.ts';

const MODULE_PIXELS = 4;
const LONGEST = `postern1:${'A-z_0'.repeat(Math.ceil((MAX_INVITATION_BYTES * 4) / 3 / 5))}`;

/** Paints the half blocks: what is drawn is light, as on a dark terminal, or the other way round. */
function read(code: string, drawnIsLight: boolean): string | undefined {
  const lines = code.split('\n').map((line) => line.replace(/\x1b\[[\d;]*m/g, ''));
  const [width, height] = [(lines[0]?.length ?? 0) * MODULE_PIXELS, lines.length * 2 * MODULE_PIXELS];
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const row = Math.floor(y / MODULE_PIXELS);
      const letter = lines[Math.floor(row / 2)]?.[Math.floor(x / MODULE_PIXELS)] ?? ' ';
      const drawn = letter === '█' || letter === (row % 2 === 0 ? '▀' : '▄');
      pixels.fill(drawn === drawnIsLight ? 255 : 0, (y * width + x) * 4, (y * width + x) * 4 + 3);
    }
  }
  return (jsQr as unknown as typeof jsQr.default)(pixels, width, height)?.data;
}

describe('the QR code', () => {
  for (const { name, line } of VECTORS.invitations)
    test(`of an invitation: ${name}`, () => assert.equal(read(qrCode(line, false), true), line));

  test('of the longest line', () => assert.equal(read(qrCode(LONGEST, false), true), LONGEST));

  test('says its colors where there are any, in each line', () => {
    const code = qrCode(VECTORS.invitations[0]?.line ?? '', true);
    for (const each of code.split('\n')) assert.match(each, /^\x1b\[97;40m[█▀▄ ]+\x1b\[0m$/);
    assert.equal(read(code, true), VECTORS.invitations[0]?.line);
  });
});
