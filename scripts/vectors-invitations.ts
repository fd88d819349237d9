// The invitations of the test vectors: sound ones, and lines that must be refused, each with one thing wrong.
import { createHash } from 'node:crypto';
import { formatInvitation, type InvitationFault } from '../protocol/invitation.ts';
import type { Invitation, InvitedService } from '../protocol/invitation-body.ts';
import { PROTOCOL_NUMBER, parsePortRange } from '../protocol/ports.ts';
import { hex, secretOf } from './vectors-cast.ts';

type Case = readonly [name: string, reason: InvitationFault, line: string];

const SSH: InvitedService = service('ssh', ['tcp/22'], { byDefault: true });
const PLAIN: Invitation = {
  host: 'web1.example.org',
  port: 62_201,
  serverKey: secretOf('server-1').publicKey,
  slots: 16,
  source: 'auto',
  needsPsk: false,
  services: [SSH],
  seed: undefined,
};

const SOUND: readonly (readonly [name: string, invitation: Invitation])[] = [
  ['one service', PLAIN],
  ['no service', { ...PLAIN, services: [] }],
  ['an IPv4 address, knocks unbound', { ...PLAIN, host: '203.0.113.9', source: 'none' }],
  ['an IPv6 address, port 1, knocks bound, 64 slots', { ...PLAIN, host: '2001:db8::17', port: 1, source: 'bound', slots: 64 }],
  ['a pre-shared key is needed', { ...PLAIN, needsPsk: true }],
  ['the server made the client’s key', { ...PLAIN, seed: secretOf('alice').seed }],
  [
    'a one-shot, a range without a name, a service of two protocols',
    {
      ...PLAIN,
      services: [
        SSH,
        service('admin-panel', ['tcp/8443'], { once: true }),
        service(undefined, ['udp/60000-65535'], {}),
        service('vpn', ['udp/51820', 'tcp/51821'], {}),
      ],
    },
  ],
];

export function invitationVectors(): object[] {
  return SOUND.map(([name, invitation]) => ({ name, fields: fieldsOf(invitation), line: formatInvitation(invitation) }));
}

export function refusedInvitations(): object[] {
  return [...lines(), ...bodies()].map(([name, reason, line]) => ({ name, reason, line }));
}

function lines(): Case[] {
  const sound = formatInvitation(PLAIN);
  const bytes = Buffer.from(sound.slice(9), 'base64url');
  const changed = (at: number, letter: string) => `${sound.slice(0, at)}${letter}${sound.slice(at + 1)}`;
  const other = (at: number) => changed(at, sound[at] === 'A' ? 'B' : 'A');
  return [
    ['another text', 'no-invitation', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5'],
    ['in capitals', 'no-invitation', sound.toUpperCase()],
    ['version 2', 'other-version', sound.replace('postern1', 'postern2')],
    ['empty', 'cut-short', ''],
    ['half the prefix', 'cut-short', 'poste'],
    ['the prefix alone', 'cut-short', 'postern1:'],
    ['one letter', 'cut-short', sound.slice(0, 10)],
    ['half of it', 'cut-short', sound.slice(0, sound.length / 2)],
    ['the last letter missing', 'cut-short', sound.slice(0, -1)],
    ['a space inside', 'mistyped', changed(30, ' ')],
    ['a padding sign behind it', 'mistyped', `${sound}=`],
    ['a letter of plain base64', 'mistyped', changed(30, '+')],
    ['another letter', 'mistyped', other(30)],
    ['another letter in the checksum', 'mistyped', other(sound.length - 3)],
    ['four letters more', 'mistyped', `${sound}AAAA`],
    ['longer than any', 'mistyped', `${sound}${'A'.repeat(1400)}`],
    [
      'a length field above 1024',
      'mistyped',
      `postern1:${Buffer.concat([Buffer.from('0401', 'hex'), bytes.subarray(2)]).toString('base64url')}`,
    ],
    [
      'bits behind the last byte',
      'mistyped',
      `${line(Buffer.from('00'.repeat(8), 'hex')).slice(0, -1)}${withSpareBit(line(Buffer.alloc(8)))}`,
    ],
    ['shorter than a checksum', 'mistyped', `postern1:${Buffer.from('000400ff', 'hex').toString('base64url')}`],
  ];
}

/** The same last byte by another letter: base64 has bits to spare at the end of 14 bytes. */
function withSpareBit(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return alphabet[alphabet.indexOf(text.at(-1) ?? '') + 1] ?? '';
}

/** A body by its parts, so that each can be wrong. */
type Parts = {
  readonly flags?: string;
  readonly source?: string;
  readonly slots?: string;
  readonly port?: string;
  readonly key?: string;
  readonly host?: string;
  readonly services?: string;
  readonly tail?: string;
};

function bodies(): Case[] {
  const key = hex(secretOf('server-1').publicKey);
  const host = (text: string) => `${hex(Uint8Array.of(text.length))}${hex(Buffer.from(text, 'latin1'))}`;
  const one = '010203737368010600160016';
  const wrong: readonly (readonly [string, Parts])[] = [
    ['flag 2', { flags: '04' }],
    ['source binding 3', { source: '03' }],
    ['no slots', { slots: '00' }],
    ['65 slots', { slots: '41' }],
    ['port 0', { port: '0000' }],
    ['a server key of small order', { key: `01${'00'.repeat(31)}` }],
    ['no host', { host: '00' }],
    ['a host with a capital', { host: host('Web1.example.org') }],
    ['a host that begins with a dash', { host: host('-oProxyCommand.example.org') }],
    ['a host with a slash', { host: host('a/b') }],
    ['a host that ends with a dot', { host: host('web1.example.org.') }],
    ['half an address', { host: host('192.0.2') }],
    ['an IPv4-mapped address', { host: host('::ffff:192.0.2.1') }],
    ['an address that could be shorter', { host: host('2001:db8:0::1') }],
    ['a label of 64 letters', { host: host(`${'a'.repeat(64)}.example.org`) }],
    ['a host beyond ASCII', { host: '02e461' }],
    ['33 services', { services: `21${one.slice(2)}` }],
    ['a service with flag 2', { services: '010403737368010600160016' }],
    ['a service name with a capital', { services: '010203537368010600160016' }],
    ['a service without ports', { services: '01020373736800' }],
    ['a service without a name and with two ranges', { services: '01020002060016001606001700ff' }],
    ['protocol 1', { services: '010203737368010100160016' }],
    ['port 0 of a service', { services: '01020373736801060000000a' }],
    ['a range that runs backwards', { services: '010203737368010600170016' }],
    ['the same service twice', { services: `02${one.slice(2)}${one.slice(2)}` }],
    ['a service fewer than counted', { services: `02${one.slice(2)}` }],
    ['a byte behind the last field', { tail: '00' }],
    ['a seed that is announced and missing', { flags: '01' }],
  ];
  return wrong.map(([name, parts]): Case => {
    const { flags = '00', source = '00', slots = '10', port = 'f2f9', services = one, tail = '' } = parts;
    const text = [flags, source, slots, port, parts.key ?? key, parts.host ?? host('web1.example.org'), services, tail].join('');
    return [name, 'unsound', line(Buffer.from(text, 'hex'))];
  });
}

/** Any body in a sound line. */
function line(body: Buffer): string {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(2 + body.length + 4);
  const checksum = createHash('sha256').update('postern1:').update(length).update(body).digest().subarray(0, 4);
  return `postern1:${Buffer.concat([length, body, checksum]).toString('base64url')}`;
}

/** An invitation by the names of SPEC 12.2. */
function fieldsOf({ host, port, serverKey, slots, source, needsPsk, services, seed }: Invitation): object {
  return {
    flags: (seed === undefined ? 0 : 1) | (needsPsk ? 2 : 0),
    source: ['auto', 'bound', 'none'].indexOf(source),
    slots,
    port,
    server: hex(serverKey),
    seed: seed === undefined ? null : hex(seed),
    host,
    services: services.map((item) => ({
      flags: (item.once ? 1 : 0) | (item.byDefault ? 2 : 0),
      name: item.name ?? '',
      ranges: item.ports.map((range) => ({ protocol: PROTOCOL_NUMBER[range.protocol], first: range.first, last: range.last })),
    })),
  };
}

function service(name: string | undefined, ports: readonly string[], flags: { once?: true; byDefault?: true }): InvitedService {
  const ranges = ports.map((text) => {
    const range = parsePortRange(text);
    if (!range.ok) throw new TypeError(range.why);
    return range.value;
  });
  return { name, ports: ranges, once: flags.once ?? false, byDefault: flags.byDefault ?? false };
}
