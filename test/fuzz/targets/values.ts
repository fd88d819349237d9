// The small words that configuration, rules, command line and keys are made of: addresses, networks, ports, durations, dates. The first letter says
// which. What is read is written in its one form, and that form is read as the same.
import { parseServices } from '../../../daemon/config/service-names.ts';
import { parseExpiry, parseSshExpiry } from '../../../daemon/rules/expiry.ts';
import { contains, parseAddress, parseNetwork } from '../../../protocol/address.ts';
import { formatDuration, parseDuration } from '../../../protocol/duration.ts';
import { formatPortRange, parsePortRange } from '../../../protocol/ports.ts';
import { hold, holdPlain } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

type Read = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly why: string };

function address(text: string): Read {
  const read = parseAddress(text);
  if (!read.ok) return read;
  const again = parseAddress(read.value.text);
  hold(
    again.ok && again.value.text === read.value.text && Buffer.compare(again.value.bytes, read.value.bytes) === 0,
    'an address with two forms',
  );
  return read;
}

function network(text: string): Read {
  const read = parseNetwork(text);
  if (!read.ok) return read;
  const again = parseNetwork(read.value.text);
  hold(again.ok && again.value.text === read.value.text && contains(read.value, read.value.address), 'a network with two forms');
  return read;
}

function ports(text: string): Read {
  const read = parsePortRange(text);
  if (!read.ok) return read;
  const { first, last } = read.value;
  hold(first >= 1 && first <= last && last <= 65_535, `ports ${first}-${last}`);
  // `tcp/5-5` is `tcp/5`.
  hold(formatPortRange(read.value) === text || first === last, 'ports with two forms');
  return read;
}

function duration(text: string): Read {
  const read = parseDuration(text);
  if (!read.ok) return read;
  const again = parseDuration(formatDuration(read.value));
  // Shown with the longest unit; what has more digits than may be typed is not read again.
  hold(read.value >= 0 && Number.isSafeInteger(read.value) && (!again.ok || again.value === read.value), 'a duration with two lengths');
  return read;
}

function date(text: string): Read {
  const read = parseExpiry(text);
  if (read.ok) hold(Number.isSafeInteger(read.value) && read.value >= 0 && read.value < Date.UTC(10_000, 1), `ends at ${read.value}`);
  return read;
}

function sshDate(text: string): Read {
  const read = parseSshExpiry(text);
  if (read.ok) hold(Number.isSafeInteger(read.value) && read.value >= 0, `ends at ${read.value}`);
  return read;
}

function services(text: string): Read {
  const names = parseServices(text);
  for (const [name, ranges] of names) hold(/^[a-z0-9-]{1,32}$/.test(name) && ranges.length > 0, 'a service without a name or ports');
  return names.size > 0 ? { ok: true, value: names } : { ok: false, why: 'none' };
}

const READERS: Readonly<Record<string, (text: string) => Read>> = {
  a: address,
  n: network,
  p: ports,
  d: duration,
  e: date,
  s: sshDate,
  v: services,
};

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('utf8');
  const reader = READERS[text.slice(0, 1)] ?? address;
  const read = reader(text.slice(1));
  if (!read.ok) holdPlain(read.why, 'the reason');
  return `${reader.name} ${read.ok ? 'read' : 'refused'}`;
}

function generate(random: Random): Uint8Array {
  const two = (bound: number) => String(random.below(bound)).padStart(2, '0');
  const year = random.pick(['1969', '1970', '1970', '2027', '9999', '0000']);
  const [month, day] = random.oneIn(2) ? ['01', '01'] : [two(14), two(33)];
  const time = random.oneIn(2) ? ['00', '00', '00'] : [two(25), two(61), two(61)];
  const zone = random.pick(['Z', '', '+14:00', '-14:00', `+${two(16)}:${two(61)}`, `-${two(16)}:${two(61)}`]);
  const octets = Array.from({ length: 4 }, () => random.below(random.oneIn(8) ? 300 : 256)).join('.');
  const groups = Array.from({ length: 8 }, () => (random.oneIn(3) ? '' : random.below(65_536).toString(16))).join(':');
  const texts = [
    `e${year}-${month}-${day}T${time.join(':')}${zone}`,
    `s${year}${month}${day}${time.join('')}${zone.slice(0, 1)}`,
    `n${octets}/${random.below(34)}`,
    `a${random.oneIn(2) ? groups : groups.replace(/:{2,}/, '::')}`,
    `d${random.below(1_000_000_000)}${random.pick(['s', 'm', 'h', 'd'])}`,
    `p${random.pick(['tcp', 'udp'])}/${random.below(65_600)}-${random.below(65_600)}`,
  ] as const;
  return new TextEncoder().encode(random.pick(texts));
}

export const target: FuzzTarget = {
  about: 'addresses, networks, ports, durations and dates',
  covers: ['protocol/address.ts', 'protocol/ports.ts', 'protocol/duration.ts', 'daemon/rules/expiry.ts', 'daemon/config/service-names.ts'],
  kind: 'text',
  maxBytes: 120,
  seeds: [
    'a192.0.2.7',
    'a2001:db8::ffff:1.2.3.4',
    'n10.0.0.0/8',
    'n2001:db8::/32',
    'ptcp/22',
    'pudp/5000-5010',
    'd30s',
    'd7d',
    'e2027-03-31',
    'e2027-03-31T18:00:00+02:00',
    's20270331',
    's202703311800Z',
    'vssh 22/tcp # x\nweb 80/tcp www\n',
  ],
  dictionary: [
    '::',
    '::ffff:',
    '/0',
    '/128',
    '0',
    '1970-01-01',
    'T00:00:00',
    '+14:00',
    '-14:00',
    'Z',
    '1970',
    '0101',
    '9999',
    '%eth0',
    '999999999d',
  ],
  generate,
  run,
  mustReach: [
    'address read',
    'address refused',
    'network read',
    'ports read',
    'duration read',
    'date read',
    'date refused',
    'sshDate read',
    'services read',
  ],
};
