// The strict decoder of bodies, and what the encoder refuses to write.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { addressFromBytes, parseAddress } from '../../protocol/address.ts';
import { bodyProblem, decodeBody, encodeBody, requestsProblem } from '../../protocol/body.ts';
import { unixMs } from '../../protocol/brand.ts';
import type { KnockBody, Request } from '../../protocol/knock.ts';
import { referenceBody } from '../fuzz/reference-body.ts';

const BODY: KnockBody = {
  action: { kind: 'open', lifetimeSeconds: 30, once: false },
  sentAtMs: unixMs(1_795_269_612_345),
  source: { kind: 'unbound' },
  sourcePort: 0,
  requests: [],
};
const SSH: Request = { kind: 'ports', ports: { protocol: 'tcp', first: 22, last: 22 } };

function service(name: string): Request {
  return { kind: 'service', name };
}

describe('decodeBody', () => {
  test('whatever it accepts is exactly what the encoder writes for it, and zeros', () => {
    // Mutations of sound bodies: random bytes alone would nearly all fail at the first field.
    const sound = Buffer.concat([encodeBody({ ...BODY, requests: [SSH, service('vpn'), SSH] }), Buffer.alloc(24)]);
    const change = fc.tuple(fc.nat(sound.length - 1), fc.nat(255));
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(change, { maxLength: 3 }), fc.integer({ min: 0, max: sound.length }), (changes, cut) => {
        const bytes = Uint8Array.from(sound.subarray(0, sound.length - cut));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const decoded = decodeBody(bytes);
        if (!decoded.ok) return;
        accepted += 1;
        assert.deepEqual(Buffer.from(bytes.subarray(0, decoded.byteLength)), Buffer.from(encodeBody(decoded.body)));
        assert.ok(bytes.subarray(decoded.byteLength).every((byte) => byte === 0));
      }),
      { numRuns: 3000 },
    );
    assert.ok(accepted > 50, `${accepted} accepted`);
  });

  test('each byte with each value: accepted exactly when a second decoder, written from SPEC alone, accepts it, and as the same', () => {
    const address = parseAddress('203.0.113.9');
    assert.ok(address.ok);
    const bound: KnockBody = { ...BODY, source: { kind: 'bound', address: address.value }, sourcePort: 7, requests: [SSH, service('vpn')] };
    let accepted = 0;
    for (const body of [
      bound,
      { ...BODY, action: { kind: 'close' as const } },
      { ...bound, action: { kind: 'open' as const, lifetimeSeconds: 30, once: true } },
    ]) {
      const sound = Buffer.concat([encodeBody(body), Buffer.alloc(3)]);
      for (let at = 0; at < sound.length; at += 1) {
        for (let value = 0; value < 256; value += 1) {
          const bytes = Uint8Array.from(sound);
          bytes[at] = value;
          const [decoded, reference] = [decodeBody(bytes), referenceBody(bytes)];
          assert.equal(decoded.ok ? decoded.byteLength : undefined, reference?.byteLength, `byte ${at} set to ${value}`);
          if (!decoded.ok || reference === undefined) continue;
          accepted += 1;
          const { action, sentAtMs, sourcePort } = decoded.body;
          assert.deepEqual(
            [sentAtMs, sourcePort, action.kind === 'close', decoded.body.requests.length],
            [reference.sentAtMs, reference.sourcePort, reference.close, reference.requests.length],
          );
        }
      }
    }
    assert.ok(accepted > 5000, `${accepted} accepted`);
  });

  test('never throws on any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => assert.equal(typeof decodeBody(bytes).ok, 'boolean')));
  });

  test('reads from the middle of a larger buffer, and keeps nothing of it', () => {
    const address = parseAddress('203.0.113.9');
    assert.ok(address.ok);
    const body: KnockBody = { ...BODY, source: { kind: 'bound', address: address.value }, requests: [service('ssh')] };
    const larger = Buffer.concat([Buffer.alloc(7, 0xff), encodeBody(body), Buffer.alloc(9)]);
    const decoded = decodeBody(larger.subarray(7));
    larger.fill(0xff);
    assert.deepEqual(decoded, { ok: true, body, byteLength: 33 + 5 });
  });

  test('a body of less than its fixed fields, or more than a packet holds, is malformed', () => {
    for (const length of [0, 1, 32, 329]) assert.equal(decodeBody(Uint8Array.from({ length }, (_, at) => (at === 0 ? 1 : 0))).ok, false);
    for (const length of [33, 328]) assert.equal(decodeBody(Uint8Array.from({ length }, (_, at) => (at === 0 ? 1 : 0))).ok, true);
  });

  test('P21: an IPv4-mapped source is the IPv4 address', () => {
    const bytes = encodeBody({ ...BODY, source: { kind: 'bound', address: addressFromBytes(Uint8Array.of(1, 2, 3, 4)) } });
    assert.equal(Buffer.from(bytes.subarray(14, 30)).toString('hex'), '00000000000000000000ffff01020304');
    const decoded = decodeBody(bytes);
    assert.ok(decoded.ok && decoded.body.source.kind === 'bound');
    assert.deepEqual([decoded.body.source.address.family, decoded.body.source.address.text], [4, '1.2.3.4']);
  });
});

describe('bodyProblem', () => {
  const cases: readonly { readonly text: string; readonly body: Partial<KnockBody>; readonly problem: RegExp | undefined }[] = [
    { text: 'sixteen ports fit', body: { requests: Array<Request>(16).fill(SSH) }, problem: undefined },
    { text: 'seventeen do not', body: { requests: Array<Request>(17).fill(SSH) }, problem: /at most 16 services, not 17/ },
    { text: 'eight names of 32 letters fit', body: { requests: Array<Request>(8).fill(service('a'.repeat(32))) }, problem: undefined },
    {
      text: 'nine names of 32 letters do not',
      body: { requests: Array<Request>(9).fill(service('a'.repeat(32))) },
      problem: /take 306 bytes and a knock has room for 295: knock for fewer at once/,
    },
    { text: 'a name of 33 letters', body: { requests: [service('a'.repeat(33))] }, problem: /not a service name/ },
    { text: 'no name', body: { requests: [service('')] }, problem: /not a service name: ""/ },
    {
      text: 'a name with control bytes, escaped',
      body: { requests: [service('a\u001b[2J')] },
      problem: /not a service name: "a\\u001b\[2J"/,
    },
    { text: 'a name beyond ASCII', body: { requests: [service('ä')] }, problem: /not a service name/ },
    {
      text: 'port 0',
      body: { requests: [{ kind: 'ports', ports: { protocol: 'tcp', first: 0, last: 1 } }] },
      problem: /not a range of ports: 0-1/,
    },
    {
      text: 'a range that runs backwards',
      body: { requests: [{ kind: 'ports', ports: { protocol: 'udp', first: 9, last: 8 } }] },
      problem: /not a range of ports: 9-8/,
    },
    {
      text: 'a port beyond 16 bits',
      body: { requests: [{ kind: 'ports', ports: { protocol: 'udp', first: 9, last: 65_536 } }] },
      problem: /not a range of ports/,
    },
    { text: 'source port beyond 16 bits', body: { sourcePort: 65_536 }, problem: /not a source port: 65536/ },
    { text: 'a negative source port', body: { sourcePort: -1 }, problem: /not a source port/ },
    { text: 'half a second', body: { action: { kind: 'open', lifetimeSeconds: 0.5, once: false } }, problem: /cannot ask for 0.5 seconds/ },
    {
      text: 'a lifetime beyond 32 bits',
      body: { action: { kind: 'open', lifetimeSeconds: 2 ** 32, once: false } },
      problem: /cannot ask for 4294967296 seconds/,
    },
    {
      text: 'bound to ::',
      body: { source: { kind: 'bound', address: addressFromBytes(new Uint8Array(16)) } },
      problem: /cannot be bound to the address ::/,
    },
  ];
  for (const { text, body, problem } of cases) {
    test(`${text}: ${problem === undefined ? 'no problem' : 'says what is wrong, and encodeBody throws it'}`, () => {
      const whole = { ...BODY, ...body };
      if (problem === undefined) {
        assert.equal(bodyProblem(whole), undefined);
        assert.equal(decodeBody(encodeBody(whole)).ok, true);
      } else {
        assert.match(bodyProblem(whole) ?? '', problem);
        if (body.requests !== undefined) assert.match(requestsProblem(whole.requests) ?? '', problem);
        assert.throws(() => encodeBody(whole), problem);
      }
    });
  }
});
