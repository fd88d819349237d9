// The replay ledger as a start finds it: header, two statuses, count and records, each put at its place in a file; by the first byte their checksums
// are set right, so that changes get behind them. A mark that can be read is never forgotten, whatever the verdict on the file is.
//
//   0      a bit each: set the checksum right of the header, the statuses, the count, the records; 5 to 7: cut so many bytes off
//   1 …    header 64, statuses 128 each, count 8, records 32 each
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from '../../../daemon/ledger/crc32.ts';
import {
  bootIdBytes,
  COUNT_AT,
  decodeRecord,
  decodeStatus,
  encodeCount,
  encodeHeader,
  encodeRecord,
  encodeStatus,
  RECORDS_AT,
  SLOT_AT,
} from '../../../daemon/ledger/format.ts';
import { barsOf, findLedger, lossOf } from '../../../daemon/ledger/found.ts';
import { HeldMarks } from '../../../daemon/ledger/held-marks.ts';
import { formatProblem } from '../../../daemon/problem.ts';
import { hold, holdPlain, sameBytes } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const BOOT = bootIdBytes('this boot');
const WINDOW = 29_921_160;
const PARTS = [
  { at: 0, bytes: 64, fix: 1 },
  { at: SLOT_AT[0], bytes: 128, fix: 2 },
  { at: SLOT_AT[1], bytes: 128, fix: 2 },
  { at: COUNT_AT, bytes: 8, fix: 4 },
] as const;
const RECORD_BYTES = 32;
const folder = mkdtempSync(join(tmpdir(), 'postern-fuzz-'));
const path = join(folder, 'ledger');
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

function fileOf(input: Uint8Array): Buffer {
  const [flags = 0] = input;
  const file = Buffer.alloc(RECORDS_AT + Math.max(0, input.length - 329));
  let from = 1;
  const place = (at: number, bytes: number, fix: boolean): void => {
    const part = Buffer.from(input.subarray(from, from + bytes));
    from += bytes;
    if (fix && part.length === bytes) part.writeUInt32BE(crc32(part, 0, bytes - 4), bytes - 4);
    part.copy(file, at);
  };
  for (const { at, bytes, fix } of PARTS) place(at, bytes, (flags & fix) !== 0);
  for (let at = RECORDS_AT; from < input.length; at += RECORD_BYTES)
    place(at, Math.min(RECORD_BYTES, input.length - from), (flags & 8) !== 0 && input.length - from >= RECORD_BYTES);
  return file.subarray(0, file.length - (flags >> 5));
}

async function run(input: Uint8Array): Promise<string> {
  const file = fileOf(input);
  writeFileSync(path, file);
  const held = new HeldMarks({ first: WINDOW - 2, last: WINDOW + 2 });
  const found = await findLedger(path, BOOT, held);
  const loss = lossOf(found, path);
  if (loss !== undefined) holdPlain(formatProblem(loss), 'a problem');
  hold(found.kind !== 'absent', 'absent');
  if (found.kind === 'unusable') return 'unusable';
  found.file.close();
  const { verdict, records, marks, damagedRecords } = found.assessment;
  hold(
    records === Math.floor(Math.max(0, file.length - RECORDS_AT) / RECORD_BYTES) && marks + damagedRecords <= records,
    'records that were not counted',
  );
  for (const { first, last } of barsOf(found)) hold(Number.isInteger(first) && Number.isInteger(last), 'a bar without numbers');
  for (let at = RECORDS_AT; at + RECORD_BYTES <= file.length; at += RECORD_BYTES) {
    const record = decodeRecord(file, at);
    if (record === undefined) continue;
    // What stands there is what was written: nothing is lost by reading.
    if (record.kind !== 'mark' || record.slot < 64)
      hold(JSON.stringify(decodeRecord(encodeRecord(record), 0)) === JSON.stringify(record), 'another record when it is written again');
    if (record.kind === 'mark')
      hold(held.has(record.pair, record.window, record.slot), `the mark of window ${record.window}, slot ${record.slot} is forgotten`);
  }
  for (const at of SLOT_AT) {
    const status = decodeStatus(file.subarray(at, at + 128));
    if (status !== undefined) hold(sameStatus(status), 'another status when it is written again');
  }
  hold((loss === undefined) === (verdict === 'sound'), `nothing is said about a file that is ${verdict}`);
  return verdict;
}

function sameStatus(status: NonNullable<ReturnType<typeof decodeStatus>>): boolean {
  const again = decodeStatus(encodeStatus(status));
  return again !== undefined && sameBytes(encodeStatus(again), encodeStatus(status)) && JSON.stringify(again) === JSON.stringify(status);
}

function build(random: Random | undefined): Uint8Array {
  const below = (bound: number) => random?.below(bound) ?? 0;
  const count = 1 + below(5);
  const bootId = below(2) === 0 ? BOOT : bootIdBytes('another boot');
  const state = (['running', 'clean', 'elsewhere'] as const)[below(3)] ?? 'running';
  const status = (sequence: number) =>
    encodeStatus({
      sequence,
      state,
      bootId,
      exposed: [{ first: WINDOW - 1, last: WINDOW + 2 }],
      ageMinutes: 9,
      durableRecords: below(count + 2),
    });
  const records = Array.from({ length: count }, () =>
    encodeRecord(
      below(4) === 3
        ? { kind: 'bar', range: { first: WINDOW - below(9), last: WINDOW + below(9) }, ageMinutes: below(9) }
        : { kind: 'mark', pair: 'p'.repeat(16), window: WINDOW - below(20), slot: below(64), ageMinutes: below(9) },
    ),
  );
  return new Uint8Array([below(256), ...Buffer.concat([encodeHeader(), status(1), status(2), encodeCount(count), ...records])]);
}

export const target: FuzzTarget = {
  about: 'the file of the replay ledger',
  covers: ['daemon/ledger/format.ts', 'daemon/ledger/assess.ts', 'daemon/ledger/found.ts', 'daemon/ledger/held-marks.ts'],
  kind: 'bytes',
  maxBytes: 700,
  seeds: [build(undefined)],
  generate: build,
  run,
  mustReach: ['unusable', 'sound', 'unclean', 'corrupt'],
};
