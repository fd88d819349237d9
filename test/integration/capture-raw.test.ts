// Raw sockets on the real kernel: what they hand on and what never wakes them, what they look like, and where they are refused.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Host } from '../lab/host.ts';
import { cpuMs } from '../lab/installation.ts';
import { createLab, type Lab, labMissing } from '../lab/lab.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import { waitFor } from '../lab/wait.ts';
import { CaptureProcess, KNOCK_PORT } from './capture-running.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./capture-program.js', import.meta.url));
const FOREIGN_PORT = 5_555;
const FLOOD_MS = 5_000;
/** As /proc/PID/fdinfo shows it. */
const O_CLOEXEC = 0o2000000;

/** As long as a knock, so that the filter lets it through. */
const inodesIn = (table: string) =>
  table
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/)[9]);
const knockLike = (text: string) => new TextEncoder().encode(text.padEnd(200, '.'));
const started = (capture: CaptureProcess) => [capture.first['started'], capture.first['failed']];

describe('raw sockets', { skip: labMissing() ?? false, timeout: 120_000 }, () => {
  let lab: Lab;
  let server: Host;
  let client: Host;
  let capture: CaptureProcess;

  before(async () => {
    lab = await createLab({ label: 'raw' });
    server = await lab.host('server');
    client = await lab.host('client');
    await lab.link(server, client);
    await server.sysctl(ANSWER_ALWAYS);
    capture = await CaptureProcess.start(server, { wish: 'raw' });
  });

  after(async () => lab?.close());

  const heard = (text: string) => waitFor(() => capture.seen.find((one) => one.payload.startsWith(text)), { what: text });

  test('say that they are used, and why', () => {
    assert.deepEqual(capture.troubles, []);
    assert.equal(capture.first['sentence'], 'capture raw, nothing is bound to a port: the configuration says so');
    assert.deepEqual(capture.first['sieve'], { kind: 'pass', to: 'raw' });
  });

  test('hand on datagrams of both families with their source, IPv4 as IPv4 (P21)', async () => {
    for (const [at, to] of server.addresses().entries()) {
      await client.sendUdp(to, KNOCK_PORT, [knockLike(`to ${to}`)], { sourcePort: 40_002 });
      const seen = await heard(`to ${to}`);
      assert.equal(seen.source, client.addresses()[at]);
      assert.equal(seen.sourcePort, 40_002);
      assert.equal(seen.payload.length, 200);
    }
  });

  test('show a link-local source without its scope', async () => {
    const linkLocal = async (host: Host) => {
      const { stdout } = await host.exec(['ip', '-6', '-o', 'address', 'show', 'dev', 'eth0', 'scope', 'link']);
      return /inet6 (fe80::[0-9a-f:]+)/.exec(stdout)?.[1];
    };
    await client.sendUdp(`${await linkLocal(server)}%eth0`, KNOCK_PORT, [knockLike('link-local')]);
    assert.equal((await heard('link-local')).source, await linkLocal(client));
  });

  test('are woken by the knock port and the lengths of a knock only', async () => {
    const before_ = await capture.counters();
    for (const to of server.addresses()) {
      // One at a time: the closed port answers, and a connected socket's next packet would fall to that error.
      for (const length of [0, 1, 191, 449, 1_200, 192, 448]) await client.sendUdp(to, KNOCK_PORT, [new Uint8Array(length).fill(0x61)]);
      await client.sendUdp(to, KNOCK_PORT + 1, [knockLike('other port')]);
      await client.sendUdp(to, KNOCK_PORT, [knockLike(`end ${to}`)]);
      await heard(`end ${to}`);
    }
    const now = await capture.counters();
    assert.equal(now.seen - before_.seen, 6);
    assert.deepEqual([now.malformed, now.foreign, now.lost], [before_.malformed, 0, before_.lost]);
    assert.ok(!capture.seen.some(({ payload }) => payload.startsWith('other port')));
  });

  test('drop what the wire damaged (IPv4; for IPv6 the seal has to find it)', async () => {
    const folder = scratchFolder('raw');
    const file = join(folder, 'damaged.trafgen');
    writeFileSync(file, packet(client, server, 0, KNOCK_PORT, 1));
    const before_ = capture.seen.length;
    await client.exec(['trafgen', '--dev', 'eth0', '--conf', file, '--num', '3', '--cpus', '1']);
    await client.sendUdp(server.ipv4(), KNOCK_PORT, [knockLike('after damage')]);
    await heard('after damage');
    assert.equal(capture.seen.length - before_, 1);
    assert.equal((await capture.counters()).malformed, 3);
    removeScratch(folder);
  });

  test('answer no more than a host without them: the knock port and its neighbor are closed alike', async () => {
    for (const to of server.addresses()) {
      const answers = [];
      for (const port of [KNOCK_PORT, KNOCK_PORT + 1]) answers.push(await answerTo(client, to, port));
      assert.deepEqual(answers, ['ECONNREFUSED', 'ECONNREFUSED'], to);
    }
  });

  test('are bound to no port, and are to be seen on the host itself', async () => {
    assert.equal((await server.exec(['ss', '-Hlntu'])).stdout, '');
    // What cannot be hidden from somebody on this host: two raw sockets of protocol 17.
    assert.match((await server.exec(['ss', '-Hlwn'])).stdout, /0\.0\.0\.0:17 [\s\S]*\*:17 /);
  });

  test('are inherited by no program that the daemon starts: a hook gets none of them', () => {
    const about = (what: string, name: string) => `/proc/${capture.running.pid}/${what}/${name}`;
    const raw = ['raw', 'raw6'].flatMap((table) => inodesIn(readFileSync(about('net', table), 'latin1')));
    const descriptors = readdirSync(about('fd', '')).filter((name) => {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(about('fd', name)))?.[1];
      return inode !== undefined && raw.includes(inode);
    });
    assert.equal(descriptors.length, 2);
    for (const name of descriptors) {
      const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(readFileSync(about('fdinfo', name), 'latin1'))?.[1] ?? '0', 8);
      assert.notEqual(flags & O_CLOEXEC, 0, `descriptor ${name}: flags ${flags.toString(8)}`);
    }
  });

  test('with a sieve that marks knocks, are woken by nothing else, and the host is silent about what is marked (P20)', async () => {
    const dual = await lab.host('marks');
    const other = await lab.host('sender');
    await lab.link(dual, other);
    await dual.sysctl(ANSWER_ALWAYS);
    await dual.nft(MARKING);
    const marked = await CaptureProcess.start(dual, { wish: 'raw', marks: true });
    for (const to of dual.addresses()) {
      assert.equal(await answerTo(other, to, KNOCK_PORT + 1), 'ECONNREFUSED', 'any closed port');
      await other.sendUdp(to, KNOCK_PORT, [knockLike('unmarked')]);
      assert.equal(await answerTo(other, to, KNOCK_PORT, knockLike('MARK 1')), 'silent');
    }
    // IPv4 options move the UDP header: an ICMP error about such a knock would be as telling.
    assert.equal(await answerTo(other, dual.ipv4(), KNOCK_PORT, knockLike('MARK 2'), OPTIONS), 'silent');
    await marked.waitForSeen(3);
    assert.deepEqual(
      marked.seen.map(({ payload }) => payload.slice(0, 6)),
      ['MARK 1', 'MARK 1', 'MARK 2'],
    );
    await marked.stop();
  });

  test('count what the kernel had to drop while nobody read', async () => {
    capture.running.kill('SIGSTOP');
    const payloads = Array.from({ length: 500 }, () => knockLike('flood'));
    await waitFor(
      async () => {
        await client.sendUdp(server.ipv4(), KNOCK_PORT, payloads);
        return (await dropsOf(server)) > 0;
      },
      { deadlineMs: 60_000 },
    );
    capture.running.kill('SIGCONT');
    const expected = await dropsOf(server);
    assert.ok((await capture.waitForCounters(({ lost }) => lost >= expected)).lost > 0);
    // What is queued still is no traffic of the next test.
    await waitFor(async () => (await queued(server)) === 0);
  });

  test('other UDP traffic costs the daemon next to nothing: 50,000 foreign packets a second', async (t) => {
    await server.listen({ udp: [FOREIGN_PORT] });
    const folder = scratchFolder('raw');
    for (const at of [0, 1] as const) {
      const file = join(folder, `foreign${at}.trafgen`);
      writeFileSync(file, packet(client, server, at, FOREIGN_PORT, 0));
      const pid = capture.running.child.pid ?? 0;
      const seen = (await capture.counters()).seen;
      const [cpu, woken, arrived] = [cpuMs(pid), wakeUps(pid), await received(server, at)];
      const flood = ['trafgen', '--dev', 'eth0', '--conf', file, '--cpus', '1', '--rate', '50000pps'];
      await client.exec(['timeout', String(FLOOD_MS / 1000), ...flood], { mayFail: true });
      const [used, wakes, count] = [cpuMs(pid) - cpu, wakeUps(pid) - woken, (await received(server, at)) - arrived];
      t.diagnostic(`IPv${at === 0 ? 4 : 6}: ${count} foreign packets in ${FLOOD_MS} ms, ${used} ms of CPU, woken ${wakes} times`);
      assert.ok(count > 50_000, `only ${count} packets arrived`);
      assert.equal((await capture.counters()).seen, seen);
      // Not the CPU time: a busy machine books the packets of others on whoever runs.
      assert.ok(wakes < 100, `woken ${wakes} times`);
    }
    removeScratch(folder);
  });

  test('stopped, they let their process end within a second', async () => {
    const { code, elapsedMs } = await capture.stop();
    assert.equal(code, 0);
    assert.ok(elapsedMs < 1_000, `${Math.round(elapsedMs)} ms`);
    assert.equal((await server.exec(['ss', '-Hlwn'])).stdout, '');
  });
});

describe('raw sockets are refused', { skip: labMissing() ?? false, timeout: 120_000 }, () => {
  let lab: Lab;
  let host: Host;
  before(async () => {
    lab = await createLab({ label: 'rawno' });
    host = await lab.host('host');
  });
  after(async () => lab?.close());

  const ended = (name: string) => `${name} ends with a rule that drops or rejects the rest`;
  const INPUT = 'type filter hook input priority filter; policy accept;';
  for (const [what, ruleset, chain] of [
    [
      'a policy of drop',
      'table inet filter { chain input { type filter hook input priority filter; policy drop; }\n}',
      'inet filter input drops by default',
    ],
    [
      'a policy of drop for IPv6 alone',
      'table ip6 filter { chain INPUT { type filter hook input priority filter; policy drop; }\n}',
      'ip6 filter INPUT drops by default',
    ],
    [
      'a policy of drop before the input',
      'table ip mine { chain early { type filter hook prerouting priority mangle; policy drop; }\n}',
      'ip mine early drops by default',
    ],
    ['a drop at the end', `table inet f { chain i { ${INPUT} iif lo accept\ncounter drop\n}\n}`, ended('inet f i')],
    [
      'a reject at the end, as firewalld has it',
      `table inet firewalld { chain filter_INPUT { ${INPUT} ct state established accept\nreject with icmpx admin-prohibited\n}\n}`,
      ended('inet firewalld filter_INPUT'),
    ],
    [
      'a chain at the end that drops',
      `table inet f { chain rest { log prefix "no" drop\n}\nchain i { ${INPUT} tcp dport 22 accept\njump rest\n}\n}`,
      ended('inet f i'),
    ],
  ] as const) {
    test(`behind ${what}, with the chain's name and what to set`, async () => {
      await host.nft(`flush ruleset\n${ruleset}`);
      assert.deepEqual(started(await CaptureProcess.start(host, { wish: 'raw' })), [undefined, refusal(chain)]);
      const fallback = await CaptureProcess.start(host, { wish: 'auto', canLog: false });
      assert.equal(fallback.first['started'], 'udp');
      assert.ok(String(fallback.first['sentence']).includes(chain), String(fallback.first['sentence']));
      await fallback.stop();
    });
  }

  for (const [what, commands, chain] of [
    ['iptables-nft with a policy of drop', [['iptables-nft', '-P', 'INPUT', 'DROP']], 'ip filter INPUT drops by default'],
    ['iptables-nft with a last REJECT', [['ip6tables-nft', '-A', 'INPUT', '-j', 'REJECT']], ended('ip6 filter INPUT')],
    ['iptables-legacy with a policy of drop', [['iptables-legacy', '-P', 'INPUT', 'DROP']], 'iptables-legacy INPUT drops by default'],
    ['ip6tables-legacy with a last DROP', [['ip6tables-legacy', '-A', 'INPUT', '-j', 'DROP']], ended('ip6tables-legacy INPUT')],
  ] as const) {
    test(`behind ${what}`, async () => {
      // A host of its own: legacy tables stay in a namespace once they were touched.
      const own = await lab.host(what.replaceAll(/[^a-z0-9]/g, '').slice(0, 20));
      for (const argv of commands) await own.exec(argv);
      assert.deepEqual(started(await CaptureProcess.start(own, { wish: 'raw' })), [undefined, refusal(chain)]);
    });
  }

  for (const [what, ruleset] of [
    ['no other firewall', ''],
    ['a policy of accept with drops for some', `table inet f { chain i { ${INPUT} ip saddr 192.0.2.1 drop\ntcp dport 23 drop\n}\n}`],
    ['a policy of drop for what is forwarded', 'table inet f { chain f { type filter hook forward priority filter; policy drop; }\n}'],
    ['a chain that drops and that nothing goes to', `table inet f { chain x { drop\n}\nchain i { ${INPUT} tcp dport 22 accept\n}\n}`],
    ['our own table, whatever it does', 'table inet postern { chain sieve { type filter hook prerouting priority raw; policy drop; }\n}'],
  ] as const) {
    test(`but not beside ${what}`, async () => {
      await host.nft(`flush ruleset\n${ruleset}`);
      const capture = await CaptureProcess.start(host, { wish: 'raw' });
      assert.deepEqual(started(capture), ['raw', undefined]);
      assert.deepEqual(capture.troubles, []);
      await capture.stop();
    });
  }

  test('without CAP_NET_RAW, with what is needed', async () => {
    await host.nft('flush ruleset');
    const without = ['setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw'];
    const asked = { wish: 'raw', port: KNOCK_PORT, group: 5 };
    const { stdout } = await host.exec([...without, process.execPath, PROGRAM, JSON.stringify(asked)]);
    assert.deepEqual(JSON.parse(stdout), {
      failed:
        'capture: raw needs root or the capability CAP_NET_RAW: in the systemd unit, add it to CapabilityBoundingSet= and AmbientCapabilities= (systemctl edit posternd)',
      fault: 'not-permitted',
    });
    // `auto` does without.
    const free = host.start([...without, process.execPath, PROGRAM, JSON.stringify({ ...asked, wish: 'auto', canLog: false })]);
    await free.waitForOutput(/"started":"udp"/);
    await free.stop();
  });

  test('where raw-socket could not be compiled, with what to install; auto does without', async () => {
    const folder = withoutRawSocket();
    const program = join(folder, 'dist/test/integration/capture-program.js');
    const asked = { wish: 'raw', port: KNOCK_PORT, group: 5 };
    const { stdout } = await host.exec([process.execPath, program, JSON.stringify(asked)]);
    assert.match(
      String(JSON.parse(stdout).failed),
      /^capture: raw needs the npm package raw-socket, which is not there: install a compiler .* "npm install raw-socket"/,
    );
    const free = host.start([process.execPath, program, JSON.stringify({ ...asked, wish: 'auto', canLog: false })]);
    await free.waitForOutput(/"started":"udp"/);
    await free.stop();
    removeScratch(folder);
  });

  test('not on a host without IPv6: IPv4 alone is used', async () => {
    const old = await lab.host('old');
    await old.sysctl({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.lo.disable_ipv6': 1 });
    const four = await CaptureProcess.start(old, { wish: 'raw' });
    await old.sendUdp('127.0.0.1', KNOCK_PORT, [knockLike('four')]);
    assert.equal((await four.waitForSeen(1))[0]?.source, '127.0.0.1');
    await four.stop();
  });
});

function refusal(chain: string): string {
  return `capture: raw sees nothing that another firewall drops, and here ${chain}: set capture: nflog (or auto), which sees packets before it`;
}

/** Otherwise the kernel answers a peer once a second, after a first burst of six. */
const ANSWER_ALWAYS = { 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 };

/** As the gate marks a knock: here by four bytes instead of an armed tag. */
const MARKING = `table inet postern {
  chain knock {
    @th,64,32 0x4d41524b meta pkttype set other return
  }
  chain sieve { type filter hook prerouting priority raw; policy accept;
    udp dport ${KNOCK_PORT} jump knock
  }
}
`;

/** Four no-operations. */
const OPTIONS = '01010101';

/** What a connected socket hears within a moment. The options go into the IPv4 header, in hexadecimal. */
async function answerTo(from: Host, address: string, port: number, payload = knockLike('hello?'), options = ''): Promise<string> {
  const { stdout } = await from.exec([process.execPath, '-e', ASK, address, String(port), Buffer.from(payload).toString('hex'), options]);
  return stdout.trim();
}

const ASK = `
const [, address, port, payload, options] = process.argv;
const koffi = require(${JSON.stringify(join(PROJECT, 'node_modules/koffi'))});
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.connect(Number(port), address, () => {
  const setsockopt = koffi.load(null).func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint32_t']);
  const bytes = Buffer.from(options, 'hex');
  if (bytes.length > 0 && setsockopt(socket._handle.fd, 0, 4, bytes, bytes.length) !== 0) throw new Error('IP_OPTIONS');
  const silence = setTimeout(() => { console.log('silent'); socket.close(); }, 300);
  socket.once('error', (error) => { clearTimeout(silence); console.log(error.code); socket.close(); });
  socket.send(Buffer.from(payload, 'hex'));
});
`;

/** The datagrams that a host has received, whatever became of them. */
async function received(host: Host, at: 0 | 1): Promise<number> {
  const { stdout } = await host.exec(['nstat', '-asz', at === 0 ? 'IpInReceives' : 'Ip6InReceives']);
  return Number(/InReceives\s+(\d+)/.exec(stdout)?.[1]);
}

/** How often a process has waited for something and was woken. */
function wakeUps(pid: number): number {
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'ascii'))?.[1]);
}

/** Bytes that wait to be read. */
async function queued(host: Host): Promise<number> {
  return (await rawTable(host)).reduce((sum, columns) => sum + Number.parseInt(columns[4]?.split(':')[1] ?? '', 16), 0);
}

async function dropsOf(host: Host): Promise<number> {
  return (await rawTable(host)).reduce((sum, columns) => sum + Number(columns.at(-1)), 0);
}

async function rawTable(host: Host): Promise<readonly string[][]> {
  const lines = (await host.exec(['cat', '/proc/net/raw'])).stdout.split('\n').filter((line) => line.includes(':0011 '));
  return lines.map((line) => line.trim().split(/\s+/));
}

/** trafgen's text for a UDP datagram of 200 bytes. A checksum of 0 is computed for IPv6, which needs one. */
function packet(from: Host, to: Host, at: 0 | 1, port: number, checksum: number): string {
  const mac = (text = '') => [...text.split(':')].map((byte) => `0x${byte}`).join(', ');
  const ether = `${mac(to.interfaces[0]?.mac)}, ${mac(from.interfaces[0]?.mac)}`;
  const bytes = (text: string) => text.split('.').join(', ');
  const length = 8 + 200;
  const udp = (sum: string) => `c16(40000), c16(${port}), c16(${length}), ${sum}, fill(0x61, 200)`;
  if (at === 0)
    return `{ ${ether}, 0x08, 0x00, 0x45, 0, c16(${20 + length}), 0, 0, 0, 0, 64, 17, csumip(14, 33), ${bytes(from.ipv4())}, ${bytes(to.ipv4())}, ${udp(`c16(${checksum})`)} }\n`;
  const sum = checksum === 0 ? 'csumudp6(14, 54)' : `c16(${checksum})`;
  return `{ ${ether}, 0x86, 0xdd, 0x60, 0, 0, 0, c16(${length}), 17, 64, ${ipv6Bytes(from.ipv6())}, ${ipv6Bytes(to.ipv6())}, ${udp(sum)} }\n`;
}

function ipv6Bytes(text: string): string {
  const [head = '', tail = ''] = text.split('::');
  const [first, last] = [head.split(':'), tail === '' ? [] : tail.split(':')];
  const groups = [...first, ...new Array<string>(8 - first.length - last.length).fill('0'), ...last].map((group) =>
    Number.parseInt(group, 16),
  );
  return groups.map((group) => `${group >> 8}, ${group & 0xff}`).join(', ');
}

/** A copy of the build that finds every module but raw-socket, as after an installation without a compiler. */
function withoutRawSocket(): string {
  const folder = scratchFolder('noraw');
  cpSync(join(PROJECT, 'dist'), join(folder, 'dist'), { recursive: true });
  cpSync(join(PROJECT, 'package.json'), join(folder, 'package.json'));
  mkdirSync(join(folder, 'node_modules'));
  for (const name of readdirSync(join(PROJECT, 'node_modules'))) {
    if (name !== 'raw-socket') symlinkSync(join(PROJECT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  return folder;
}
