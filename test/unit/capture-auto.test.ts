// Which capture is chosen, from the configuration's wish and what the firewall can do.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CaptureWish, planCapture, type SieveFacts } from '../../daemon/capture/auto.ts';
import { CaptureError } from '../../daemon/capture/capture.ts';

const CAN: SieveFacts = { canLog: true };
const CANNOT: SieveFacts = { canLog: false, why: 'this kernel has no payload sets (needs 5.2)' };

const plans: readonly (readonly [CaptureWish, SieveFacts, readonly string[], RegExp])[] = [
  ['auto', CAN, ['nflog', 'raw', 'udp'], /the kernel logs knocks to us/],
  ['auto', CANNOT, ['raw', 'udp'], /no payload sets/],
  ['nflog', CAN, ['nflog'], /configuration says so/],
  ['udp', CAN, ['udp'], /configuration says so/],
  ['udp', CANNOT, ['udp'], /configuration says so/],
  ['raw', CAN, ['raw'], /configuration says so/],
  ['raw', CANNOT, ['raw'], /configuration says so/],
];

const refusals: readonly (readonly [CaptureWish, SieveFacts, RegExp])[] = [
  ['nflog', CANNOT, /^capture: nflog cannot work here, this kernel has no payload sets \(needs 5\.2\): set capture: auto, raw or udp$/],
];

describe('the choice of a capture', () => {
  for (const [wish, facts, ways, because] of plans) {
    test(`${wish}, ${facts.canLog ? 'the firewall can log' : 'it cannot'}: ${ways.join(', then ')}`, () => {
      const plan = planCapture(wish, facts);
      assert.deepEqual(plan.ways, ways);
      assert.match(plan.because, because);
    });
  }
  for (const [wish, facts, message] of refusals) {
    test(`${wish}, ${facts.canLog ? 'the firewall can log' : 'it cannot'}: refused with one line that says what to do`, () => {
      assert.throws(
        () => planCapture(wish, facts),
        (error) => error instanceof CaptureError && error.fault === 'unsupported' && message.test(error.message),
      );
    });
  }
});
