// Addresses, networks, ports, durations and the small types: what is read, what is refused, and that each value has one form (P21, P22).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { addressFromBytes, contains, mappedBytes, parseAddress, parseNetwork } from '../../protocol/address.ts';
import { assertNever, unixMs } from '../../protocol/brand.ts';
import { formatDuration, parseDuration } from '../../protocol/duration.ts';
import { SERVICE_NAME } from '../../protocol/knock.ts';
import { coversPorts, formatPortRange, parsePortRange } from '../../protocol/ports.ts';
import { quoted } from '../../protocol/quoted.ts';

function addressText(text: string): string {
  const address = parseAddress(text);
  return address.ok ? address.value.text : `refused: ${address.why}`;
}

function networkText(text: string): string {
  const network = parseNetwork(text);
  return network.ok ? network.value.text : `refused: ${network.why}`;
}

describe('parseAddress', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['1.2.3.4', '1.2.3.4'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['2001:DB8::1', '2001:db8::1'],
    ['2001:db8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'],
    // RFC 5952: a single zero group is not shortened, the longest run is, the first of equals.
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['fe80::', 'fe80::'],
    // P21: IPv4-mapped IPv6 is the IPv4 address, however it is written.
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['::FFFF:0102:0304', '1.2.3.4'],
    ['0:0:0:0:0:ffff:1.2.3.4', '1.2.3.4'],
    // Others of its kind are not.
    ['::1.2.3.4', '::102:304'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['::ffff:0:1.2.3.4', '::ffff:0:102:304'],
  ];
  for (const [text, expected] of cases) test(`reads ${text} as ${expected}`, () => assert.equal(addressText(text), expected));

  const refused = [
    '',
    ' 1.2.3.4',
    '1.2.3.4 ',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '0x7f.0.0.1',
    '1.2.3.4/32',
    '[::1]',
    'fe80::1%eth0',
    '1::2::3',
    ':::',
    '12345::',
    'g::',
    'localhost',
    '1.2.3.4\n',
    '１.2.3.4',
  ];
  for (const text of refused) {
    test(`refuses ${JSON.stringify(text)}`, () => assert.match(addressText(text), /^refused: not an IP address/));
  }

  test('escapes and cuts what it quotes (P34)', () => {
    const why = addressText(`\u001b[2J${'x'.repeat(70_000)}`);
    assert.equal(why.includes('\u001b'), false);
    assert.ok(why.length < 200, `${why.length} letters`);
  });

  test('the text of any address reads back as the same bytes, and equal bytes have equal texts', () => {
    const bytes = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));
    const sparse = fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 }).map((list) => Uint8Array.from(list));
    fc.assert(
      fc.property(fc.oneof(bytes, sparse), (raw) => {
        const address = addressFromBytes(raw);
        const again = parseAddress(address.text);
        assert.ok(again.ok);
        assert.deepEqual(again.value, address);
        assert.deepEqual(addressFromBytes(mappedBytes(address)), address);
      }),
      { numRuns: 1000 },
    );
  });

  test('keeps nothing of the buffer it read from', () => {
    const buffer = Buffer.from([1, 2, 3, 4]);
    const address = addressFromBytes(buffer);
    buffer.fill(9);
    assert.deepEqual(address.bytes, Uint8Array.of(1, 2, 3, 4));
  });

  for (const length of [0, 3, 5, 15, 17]) {
    test(`throws on ${length} bytes`, () => assert.throws(() => addressFromBytes(new Uint8Array(length)), RangeError));
  }
});

describe('parseNetwork', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['192.0.2.1', '192.0.2.1/32'],
    ['192.0.2.1/32', '192.0.2.1/32'],
    ['192.0.2.128/25', '192.0.2.128/25'],
    ['::/0', '::/0'],
    ['2001:db8::/32', '2001:db8::/32'],
    ['2001:db8::1', '2001:db8::1/128'],
    ['2001:db8:8000::/33', '2001:db8:8000::/33'],
  ];
  for (const [text, expected] of cases) test(`reads ${text} as ${expected}`, () => assert.equal(networkText(text), expected));

  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /not a network/],
    ['/8', /not a network/],
    ['10.0.0.0/', /prefix 0 to 32/],
    ['10.0.0.0/33', /prefix 0 to 32/],
    ['10.0.0.0/-1', /prefix 0 to 32/],
    ['10.0.0.0/8/8', /not a network/],
    ['10.0.0.0/1e1', /prefix 0 to 32/],
    ['10.0.0.0/255.0.0.0', /prefix 0 to 32/],
    ['10.0.0.0/08', /prefix 0 to 32/],
    ['::/129', /prefix 0 to 128/],
    ['10.0.0.1/8', /host bits set: did you mean 10\.0\.0\.0\/8\?/],
    ['2001:db8::1/64', /host bits set: did you mean 2001:db8::\/64\?/],
    ['::ffff:1.2.3.4/128', /write the IPv4 network itself/],
    ['::ffff:0:0/96', /write the IPv4 network itself/],
  ];
  for (const [text, why] of refused) test(`refuses ${JSON.stringify(text)}`, () => assert.match(networkText(text), why));

  const members: readonly (readonly [string, string, boolean])[] = [
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['1.2.3.4/32', '1.2.3.4', true],
    // P22: not by text.
    ['1.2.3.4/32', '11.2.3.45', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '1.2.3.4', false],
    // P21: a mapped address is in IPv4's networks.
    ['1.2.3.0/24', '::ffff:1.2.3.4', true],
    ['192.0.2.128/25', '192.0.2.127', false],
    ['192.0.2.128/25', '192.0.2.128', true],
    ['2001:db8::/33', '2001:db8:7fff::', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
  ];
  for (const [networkName, addressName, expected] of members) {
    test(`${networkName} ${expected ? 'holds' : 'does not hold'} ${addressName}`, () => {
      const [network, address] = [parseNetwork(networkName), parseAddress(addressName)];
      assert.ok(network.ok && address.ok);
      assert.equal(contains(network.value, address.value), expected);
    });
  }
});

describe('parsePortRange', () => {
  for (const text of ['tcp/1', 'tcp/22', 'udp/65535', 'udp/5000-5010', 'tcp/1-65535']) {
    test(`reads ${text} and writes it the same`, () => {
      const range = parsePortRange(text);
      assert.ok(range.ok);
      assert.equal(formatPortRange(range.value), text);
    });
  }

  test('a range of one port is that port', () => {
    const range = parsePortRange('tcp/22-22');
    assert.ok(range.ok);
    assert.equal(formatPortRange(range.value), 'tcp/22');
  });

  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /not a port/],
    ['22', /expected tcp\/22/],
    ['tcp/0', /not a port/],
    ['tcp/022', /not a port/],
    ['tcp/65536', /out of range/],
    ['tcp/22-65536', /out of range/],
    ['tcp/22-21', /runs backwards: did you mean tcp\/21-22\?/],
    ['tcp/22-', /not a port/],
    ['tcp/-22', /not a port/],
    ['tcp/22-23-24', /not a port/],
    ['TCP/22', /not a port/],
    ['icmp/1', /not a port/],
    ['tcp/22 ', /not a port/],
    ['tcp/22\n', /not a port/],
    ['tcp/2e1', /not a port/],
    ['tcp/ssh', /not a port/],
  ];
  for (const [text, why] of refused) {
    test(`refuses ${JSON.stringify(text)}`, () => {
      const range = parsePortRange(text);
      assert.match(range.ok ? 'read' : range.why, why);
    });
  }

  const covering: readonly (readonly [string, string, boolean])[] = [
    ['tcp/1-100', 'tcp/22', true],
    ['tcp/1-100', 'tcp/1-100', true],
    ['tcp/22', 'tcp/22-23', false],
    ['tcp/22', 'tcp/21-22', false],
    ['tcp/1-65535', 'udp/22', false],
  ];
  for (const [outer, inner, expected] of covering) {
    test(`${outer} ${expected ? 'covers' : 'does not cover'} ${inner}`, () => {
      const [wide, narrow] = [parsePortRange(outer), parsePortRange(inner)];
      assert.ok(wide.ok && narrow.ok);
      assert.equal(coversPorts(wide.value, narrow.value), expected);
    });
  }
});

describe('parseDuration', () => {
  const cases: readonly (readonly [string, number, string])[] = [
    ['0s', 0, '0s'],
    ['1s', 1, '1s'],
    ['30s', 30, '30s'],
    ['90s', 90, '90s'],
    ['60s', 60, '1m'],
    ['10m', 600, '10m'],
    ['120m', 7200, '2h'],
    ['24h', 86_400, '1d'],
    ['7d', 604_800, '7d'],
    // P26: beyond Node's own timers.
    ['30d', 2_592_000, '30d'],
  ];
  for (const [text, seconds, shortest] of cases) {
    test(`reads ${text} as ${seconds} seconds, in short ${shortest}`, () => {
      assert.deepEqual(parseDuration(text), { ok: true, value: seconds });
      assert.equal(formatDuration(seconds), shortest);
    });
  }

  for (const text of ['', '30', '30 s', 's', '-1s', '+1s', '1.5h', '1h30m', '030s', '1w', '1S', '1e3s', '1000000000s', '30s\n', '１s']) {
    test(`refuses ${JSON.stringify(text)}`, () => {
      const duration = parseDuration(text);
      assert.match(duration.ok ? 'read' : duration.why, /not a duration: .* \(write 30s, 10m, 2h or 7d\)/);
    });
  }

  test('what is formatted reads back as the same seconds', () => {
    fc.assert(
      fc.property(fc.nat(999_999_999), (seconds) => assert.deepEqual(parseDuration(formatDuration(seconds)), { ok: true, value: seconds })),
    );
  });
});

describe('quoted (P34)', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['a "b" \\', '"a \\"b\\" \\\\"'],
    ['\u001b[2J\n\0', '"\\u001b[2J\\n\\u0000"'],
    ['\u009b31m\u007f', '"\\u009b31m\\u007f"'],
    ['\u202e\u2028\u200b\ufeff', '"\\u202e\\u2028\\u200b\\ufeff"'],
    ['Grüße, 世界', '"Grüße, 世界"'],
    ['\ud800', '"\\ud800"'],
    ['\u{e0041}\u{1d173}', '"\\udb40\\udc41\\ud834\\udd73"'],
    ['x'.repeat(65), `"${'x'.repeat(64)}…"`],
  ];
  for (const [text, expected] of cases)
    test(`${JSON.stringify(text.slice(0, 12))}: ${expected.slice(0, 40)}`, () => assert.equal(quoted(text), expected));
});

describe('small types', () => {
  for (const time of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    test(`${time} is no time`, () => assert.throws(() => unixMs(time), RangeError));
  }

  test('the time of 2099 and the last safe number are times', () => {
    assert.equal(unixMs(Date.UTC(2099, 0)), Date.UTC(2099, 0));
    assert.equal(unixMs(Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
  });

  test('a switch that meets a value it does not know throws and names it', () => {
    assert.throws(() => assertNever('other' as never), /unexpected value: "other"/);
  });

  const names: readonly (readonly [string, boolean])[] = [
    ['ssh', true],
    ['a', true],
    ['-', true],
    ['admin-panel-2', true],
    ['a'.repeat(32), true],
    ['a'.repeat(33), false],
    ['', false],
    ['Ssh', false],
    ['ssh\n', false],
    ['a_b', false],
    ['../x', false],
  ];
  for (const [name, expected] of names) {
    test(`${JSON.stringify(name)} ${expected ? 'is' : 'is not'} a service name`, () => assert.equal(SERVICE_NAME.test(name), expected));
  }
});
