// Which address a knock is for, and which addresses make no sense for anybody (P32).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settleAddress } from '../../daemon/policy/settle.ts';
import { type IpAddress, parseAddress } from '../../protocol/address.ts';

const SENSELESS = [
  '0.0.0.0',
  '0.1.2.3',
  '127.0.0.1',
  '127.9.9.9',
  '169.254.1.1',
  '224.0.0.1',
  '239.1.1.1',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::1.2.3.4',
  'fe80::1',
  'febf::1',
  'ff02::1',
  '::ffff:127.0.0.1',
  '::ffff:224.0.0.1',
];
const DOCUMENTATION = ['192.0.2.1', '198.51.100.7', '203.0.113.255', '2001:db8::1', '2001:db8:ffff::1'];
const FINE = [
  '10.0.0.1',
  '172.16.0.1',
  '192.168.1.1',
  '100.64.0.1',
  '1.1.1.1',
  '223.255.255.255',
  '2a00::1',
  'fd00::1',
  '2001:db7::1',
  '192.0.3.0',
];

describe('P32 addresses that make no sense', () => {
  const unbound = { kind: 'unbound' } as const;
  for (const text of SENSELESS) {
    it(`${text} is refused as source, as bound and on behalf`, () => {
      const it = address(text);
      const other = address('10.0.0.1');
      for (const step of [
        settleAddress(unbound, it, false),
        settleAddress({ kind: 'bound', address: it }, it, false),
        settleAddress({ kind: 'bound', address: it }, other, true),
      ]) {
        assert.equal(step.pass ? 'pass' : step.reason, 'senseless-address');
      }
    });
  }
  for (const text of DOCUMENTATION) {
    it(`${text} cannot be claimed for somebody else; a packet that came from there is a laboratory's`, () => {
      const it = address(text);
      const claimed = settleAddress({ kind: 'bound', address: it }, address('10.0.0.1'), true);
      assert.equal(claimed.pass ? 'pass' : claimed.reason, 'senseless-address');
      assert.equal(settleAddress(unbound, it, false).pass, true);
      assert.equal(settleAddress({ kind: 'bound', address: it }, it, false).pass, true);
    });
  }
  for (const text of FINE) {
    it(`${text} is an address like any other`, () => assert.equal(settleAddress(unbound, address(text), false).pass, true));
  }
});

function address(text: string): IpAddress {
  const result = parseAddress(text);
  assert.ok(result.ok, text);
  return result.value;
}
