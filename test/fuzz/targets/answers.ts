// Datagrams that the client takes from servers that it asked: STUN and SNTP. First byte: which. The rest goes behind the right transaction or nonce
// (unless the first byte says otherwise): whoever sees the question may answer as he likes.
import { clockOffset, encodeSntpRequest, NONCE_BYTES, readSntpAnswer } from '../../../client/sntp-message.ts';
import { encodeBindingRequest, readBindingAnswer, TRANSACTION_BYTES } from '../../../client/stun-message.ts';
import { addressFromBytes } from '../../../protocol/address.ts';
import { hold, holdPlain } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

const TRANSACTION = Uint8Array.from({ length: TRANSACTION_BYTES }, (_, at) => at + 1);
const NONCE = Uint8Array.from({ length: NONCE_BYTES }, (_, at) => at + 101);

function run(input: Uint8Array): string {
  const [which = 0] = input;
  const bytes = input.slice(1);
  const isAnswered = (which & 2) === 0;
  if ((which & 1) === 0) {
    if (isAnswered && bytes.length >= 20) bytes.set(TRANSACTION, 8);
    if ((which & 4) === 0 && bytes.length >= 20) new DataView(bytes.buffer).setUint16(2, bytes.length - 20);
    const answer = readBindingAnswer(bytes, TRANSACTION);
    hold(
      isAnswered || answer.kind === 'foreign' || bytes.subarray(8, 20).every((byte, at) => byte === TRANSACTION[at]),
      'an answer to another question',
    );
    if (answer.kind === 'refused') holdPlain(answer.why, 'the reason');
    if (answer.kind === 'address') hold(addressFromBytes(answer.address.bytes).text === answer.address.text, 'an address with two forms');
    return `STUN ${answer.kind}`;
  }
  if (isAnswered && bytes.length >= 32) bytes.set(NONCE, 24);
  const answer = readSntpAnswer(bytes, NONCE);
  if (answer.kind === 'refused') holdPlain(answer.why, 'the reason');
  if (answer.kind === 'time') {
    const { offsetMs, uncertaintyMs } = clockOffset(answer, 1000, 2000);
    hold(
      Number.isFinite(offsetMs) && uncertaintyMs >= 1 && answer.receivedMs >= 0 && answer.transmittedMs >= answer.receivedMs,
      'a time that makes no sense',
    );
  }
  return `SNTP ${answer.kind}`;
}

const stun = (...attributes: readonly number[]) => Uint8Array.from([0, 1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...TRANSACTION, ...attributes]);
const MAPPED = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
const sntp = new Uint8Array(49);
sntp.set([1, 0x24, 2], 0);
sntp.set([0xe8, 1, 2, 3, 4, 5, 6, 7, 0xe8, 1, 2, 3, 4, 5, 6, 8], 33);

export const target: FuzzTarget = {
  about: 'answers of STUN and time servers',
  covers: ['client/stun-message.ts', 'client/sntp-message.ts'],
  kind: 'bytes',
  maxBytes: 200,
  seeds: [
    stun(...MAPPED),
    stun(0x80, 0x22, 0, 3, 1, 2, 3, 0, ...MAPPED),
    stun(0, 9, 0, 4, 0, 0, 4, 1),
    sntp,
    new Uint8Array([0, ...encodeBindingRequest(TRANSACTION)]),
    new Uint8Array([1, ...encodeSntpRequest(NONCE)]),
  ],
  dictionary: [
    Uint8Array.from(MAPPED),
    Uint8Array.of(0, 0x20, 0, 20, 0, 2),
    Uint8Array.of(1, 0x11),
    Uint8Array.of(0, 9, 0, 4),
    Uint8Array.of(0x21, 0x12, 0xa4, 0x42),
  ],
  run,
  mustReach: ['STUN address', 'STUN refused', 'STUN foreign', 'SNTP time', 'SNTP refused', 'SNTP foreign'],
};
