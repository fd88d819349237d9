// Reads a pre-shared key: 32 bytes, base64, one line. It must not show any of it, and a file that others can read is refused (P38).
import type { Parsed } from '../../protocol/brand.ts';
import { parsed, unparsed } from '../../protocol/brand.ts';
import { readTrustedFile } from './trusted-file.ts';

/** The 32 bytes, or one sentence that holds no secret. */
export async function readPresharedKey(path: string): Promise<Parsed<Uint8Array>> {
  const read = await readTrustedFile(path, 'secret', 1024);
  if (!read.ok) return unparsed(`${read.why} :: ${read.cure}`);
  const line = read.bytes.toString('latin1').trim();
  const bytes = /^[A-Za-z0-9+/]{43}=$/.test(line) ? Buffer.from(line, 'base64') : undefined;
  if (bytes === undefined || bytes.length !== 32) {
    return unparsed('a pre-shared key is 32 bytes in base64 (44 characters) :: make one with: head -c 32 /dev/urandom | base64');
  }
  if (bytes.every((byte) => byte === bytes[0]))
    return unparsed('this pre-shared key is not random :: make one with: head -c 32 /dev/urandom | base64');
  return parsed(Uint8Array.from(bytes));
}
