// Invitations: one line for each, each slip told apart, and never a part of the line in a message.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { checkPublicKey, secretFromSeed } from '../../protocol/identity.ts';
import {
  formatInvitation,
  INVITATION_PREFIX,
  invitationProblem,
  MAX_INVITATION_BYTES,
  parseInvitation,
} from '../../protocol/invitation.ts';
import { type Invitation, type InvitedService, MAX_RANGES, MAX_SERVICES } from '../../protocol/invitation-body.ts';
import { bytes, type InvitationVector, VECTORS } from './protocol-vector-file.ts';

const SERVER = secretFromSeed(new Uint8Array(32).fill(7)).publicKey;
const SSH: InvitedService = { name: 'ssh', ports: [{ protocol: 'tcp', first: 22, last: 22 }], once: false, byDefault: true };
const PLAIN: Invitation = {
  host: 'web1.example.org',
  port: 62_201,
  serverKey: SERVER,
  slots: 16,
  source: 'auto',
  needsPsk: false,
  services: [SSH],
  seed: undefined,
};

const ranges = fc
  .tuple(fc.constantFrom('tcp' as const, 'udp' as const), fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 1, max: 65535 }))
  .map(([protocol, a, b]) => ({ protocol, first: Math.min(a, b), last: Math.max(a, b) }));
const named = fc.record(
  {
    name: fc.stringMatching(/^[a-z0-9-]{1,32}$/),
    ports: fc.array(ranges, { minLength: 1, maxLength: 4 }),
    once: fc.boolean(),
    byDefault: fc.boolean(),
  },
  { noNullPrototype: true },
);
const invitations: fc.Arbitrary<Invitation> = fc.record(
  {
    host: fc.oneof(fc.constantFrom('web1', 'a.b-c.example', '_x.local', '2001:db8::1'), fc.ipV4()),
    port: fc.integer({ min: 1, max: 65535 }),
    serverKey: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((seed) => secretFromSeed(seed).publicKey),
    slots: fc.integer({ min: 1, max: 64 }),
    source: fc.constantFrom('auto' as const, 'bound' as const, 'none' as const),
    needsPsk: fc.boolean(),
    services: fc.uniqueArray(named, { maxLength: 6, selector: (service) => service.name }),
    seed: fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined }),
  },
  { noNullPrototype: true },
);

describe('an invitation', () => {
  test('is read back as it was written', () => {
    fc.assert(
      fc.property(invitations, (invitation) => {
        assert.deepEqual(parseInvitation(`  ${formatInvitation(invitation)}\r\n`), { ok: true, value: invitation });
      }),
    );
  });

  test('cut anywhere is told to be cut short, and nothing else', () => {
    const line = formatInvitation({ ...PLAIN, seed: new Uint8Array(32).fill(9) });
    for (let letters = 0; letters < line.length; letters += 1) {
      const read = parseInvitation(line.slice(0, letters));
      assert.ok(!read.ok && read.fault === 'cut-short', `${letters}: ${JSON.stringify(read)}`);
    }
  });

  test('with any letter changed, dropped or doubled inside is refused, and not as sound or as unsound', () => {
    const line = formatInvitation(PLAIN);
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ +/=é';
    for (let at = 0; at < line.length; at += 1) {
      for (const letter of letters) {
        if (line[at] === letter || (at === 8 && letter === ':')) continue;
        const read = parseInvitation(`${line.slice(0, at)}${letter}${line.slice(at + 1)}`);
        assert.ok(!read.ok && read.fault !== 'unsound', `${at} ${letter}`);
      }
      for (const text of [`${line.slice(0, at)}${line.slice(at + 1)}`, `${line.slice(0, at)}${line[at]}${line.slice(at)}`]) {
        const read = parseInvitation(text);
        assert.ok(!read.ok && read.fault !== 'unsound', text);
      }
    }
  });

  test('P38: whatever is wrong with it, no message repeats it', () => {
    const seed = new Uint8Array(32).fill(9);
    const line = formatInvitation({ ...PLAIN, seed });
    for (let at = 1; at < line.length; at += 1) {
      for (const text of [line.slice(0, at), `${line.slice(0, at)} ${line.slice(at)}`, `${line}${line.slice(at)}`, line.slice(at + 1)]) {
        const read = parseInvitation(text);
        assert.ok(!read.ok);
        const parts = read.why.match(/[A-Za-z0-9_-]{12,}/g) ?? [];
        assert.deepEqual(
          parts.filter((part) => line.slice(INVITATION_PREFIX.length).includes(part)),
          [],
          read.why,
        );
      }
    }
  });

  test('whose body was changed and summed up anew is read in one form only, or unsound; it never throws', () => {
    const sound = Buffer.from(formatInvitation(PLAIN).slice(9), 'base64url').subarray(2, -4);
    let read = 0;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { maxLength: 3 }), fc.nat(3), (changes, cut) => {
        const body = Buffer.from(sound.subarray(0, sound.length - cut));
        for (const [at, value] of changes) if (at < body.length) body[at] = value;
        const line = lineOf(body);
        const result = parseInvitation(line);
        if (result.ok) {
          read += 1;
          assert.equal(formatInvitation(result.value), line);
        } else {
          assert.equal(result.fault, 'unsound');
        }
      }),
      { numRuns: 2000 },
    );
    assert.ok(read > 50, `${read} read`);
  });

  test('any text at all is refused without an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `postern1:${text}`),
        ),
        (text) => assert.equal(parseInvitation(text).ok, false),
      ),
    );
  });

  test('the encoder refuses what the decoder would refuse, in one sentence', () => {
    const many = (count: number, part: Partial<InvitedService>) =>
      Array.from({ length: count }, (_, index): InvitedService => ({ ...SSH, name: `service-${index}`, ...part }));
    const cases: readonly (readonly [Partial<Invitation>, RegExp])[] = [
      [{ host: 'Web1' }, /not a host name or address: "Web1"/],
      [{ host: 'a\u001b[2J' }, /not a host name or address: "a\\u001b\[2J"/],
      [{ host: `${'a.'.repeat(127)}b` }, /not a host name/],
      [{ host: '1.2.3.4.5' }, /not a host name/],
      [{ host: 'fe80::1%eth0' }, /not a host name/],
      [{ port: 0 }, /not a port/],
      [{ port: 65536 }, /not a port/],
      [{ slots: 65 }, /65 knocks a minute \(1 to 64\)/],
      [{ seed: new Uint8Array(31) }, /client key of 31 bytes/],
      [{ services: many(MAX_SERVICES + 1, {}) }, /33 services \(at most 32\)/],
      [{ services: [SSH, SSH] }, /ssh stands twice/],
      [{ services: [{ ...SSH, name: '' }] }, /not a service name: ""/],
      [{ services: [{ ...SSH, name: 'a b' }] }, /not a service name: "a b"/],
      [{ services: [{ ...SSH, ports: [] }] }, /ssh has 0 ranges of ports \(1 to 16\)/],
      [{ services: [{ ...SSH, ports: [{ protocol: 'tcp', first: 0, last: 1 }] }] }, /not a range of ports: 0-1/],
      [{ services: many(MAX_SERVICES, { ports: new Array(MAX_RANGES).fill(SSH.ports[0]) }) }, /more than 1024: name fewer services/],
    ];
    for (const [change, expected] of cases) {
      const invitation = { ...PLAIN, ...change };
      assert.match(invitationProblem(invitation) ?? '', expected);
      assert.throws(() => formatInvitation(invitation), RangeError);
    }
    assert.equal(invitationProblem(PLAIN), undefined);
    assert.ok(MAX_INVITATION_BYTES <= 1024);
  });
});

describe('the invitations of vectors.json', () => {
  for (const vector of VECTORS.invitations) {
    test(`${vector.name}: written, and read`, () => {
      const invitation = invitationOf(vector.fields);
      assert.equal(formatInvitation(invitation), vector.line);
      assert.deepEqual(parseInvitation(vector.line), { ok: true, value: invitation });
    });
  }

  for (const vector of VECTORS.refused_invitations) {
    test(`${vector.name}: ${vector.reason}`, () => {
      const read = parseInvitation(vector.line);
      assert.equal(read.ok ? 'read' : read.fault, vector.reason);
    });
  }

  test('hold each reason', () => {
    const reasons = new Set(VECTORS.refused_invitations.map(({ reason }) => reason));
    assert.deepEqual([...reasons].sort(), ['cut-short', 'mistyped', 'no-invitation', 'other-version', 'unsound']);
  });
});

/** SPEC 12.1, written again. */
function lineOf(body: Buffer): string {
  const length = Buffer.from([(body.length + 6) >> 8, (body.length + 6) & 0xff]);
  const sum = createHash('sha256').update('postern1:').update(length).update(body).digest();
  return `postern1:${Buffer.concat([length, body, sum.subarray(0, 4)]).toString('base64url')}`;
}

function invitationOf(fields: InvitationVector['fields']): Invitation {
  const serverKey = checkPublicKey(bytes(fields.server));
  assert.ok(serverKey.ok);
  return {
    host: fields.host,
    port: fields.port,
    serverKey: serverKey.value,
    slots: fields.slots,
    source: (['auto', 'bound', 'none'] as const)[fields.source] ?? 'auto',
    needsPsk: (fields.flags & 2) !== 0,
    seed: fields.seed === null ? undefined : new Uint8Array(bytes(fields.seed)),
    services: fields.services.map((service) => ({
      name: service.name === '' ? undefined : service.name,
      once: (service.flags & 1) !== 0,
      byDefault: (service.flags & 2) !== 0,
      ports: service.ranges.map(({ protocol, first, last }) => ({ protocol: protocol === 6 ? 'tcp' : 'udp', first, last })),
    })),
  };
}
