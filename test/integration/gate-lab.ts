// Two or three hosts in network namespaces, with this process living in the server. Used by the gate-*.test.ts files.
//
//   client 10.77.0.2, .3 ──veth── 10.77.0.1 server 10.78.0.1 ──veth── 10.78.0.2 behind (only when asked for)
//          fd77::2, ::3           fd77::1          fd78::1            fd78::2
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, connect as netConnect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Firewall, GateLayout, Opening, TimedOpening } from '../../daemon/firewall/firewall.ts';
import { type IpAddress, type Network, parseAddress, parseNetwork } from '../../protocol/address.ts';
import type { Parsed } from '../../protocol/brand.ts';
import { type PortRange, parsePortRange } from '../../protocol/ports.ts';

const CLONE_NEWNET = 0x40000000;
const PATIENCE_MS = 15_000;

const koffi = createRequire(import.meta.url)('koffi') as {
  readonly load: (path: null) => {
    readonly func: (name: string, result: string, args: readonly string[]) => (...args: number[]) => number;
  };
};
const setns = koffi.load(null).func('setns', 'int', ['int', 'int']);

function enter(path: string): void {
  const fd = openSync(path, 'r');
  try {
    assert.equal(setns(fd, CLONE_NEWNET), 0, `setns ${path}`);
  } finally {
    closeSync(fd);
  }
}

export function command(...argv: readonly string[]): string {
  const [program = '', ...args] = argv;
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export type Lab = {
  readonly client: string;
  readonly server: string;
  readonly behind: string;
  /** Runs `action` in the client's namespace: sockets that it makes, and makes in the ticks right after, are the client's. */
  readonly asClient: <T>(action: () => T) => Promise<T>;
  readonly asBehind: <T>(action: () => T) => Promise<T>;
  /** Runs a program in the client's namespace. */
  readonly onClient: (...argv: readonly string[]) => string;
  readonly onBehind: (...argv: readonly string[]) => string;
  readonly nft: (script: string) => void;
  readonly close: () => void;
};

let count = 0;

/** Builds the hosts and moves this process into the server. */
export function openLab(options: { readonly behind?: boolean } = {}): Lab {
  count += 1;
  const name = `pt-gate-${process.pid}-${count}`;
  const [client, server, behind] = [`${name}-c`, `${name}-s`, `${name}-b`];
  const hosts = options.behind === true ? [client, server, behind] : [client, server];
  const ip = (host: string, ...args: readonly string[]) => command('ip', '-n', host, ...args);
  for (const host of hosts) {
    command('ip', 'netns', 'add', host);
    ip(host, 'link', 'set', 'lo', 'up');
  }
  const link = (left: string, right: string, leftName: string, rightName: string, network: number): void => {
    ip(left, 'link', 'add', leftName, 'type', 'veth', 'peer', 'name', rightName, 'netns', right);
    const addresses: readonly [string, string, readonly number[]][] = [
      [left, leftName, leftName === 'wan' ? [2, 3] : [1]],
      [right, rightName, leftName === 'wan' ? [1] : [2]],
    ];
    for (const [host, device, hosts_] of addresses) {
      for (const number of hosts_) {
        ip(host, 'address', 'add', `10.${network}.0.${number}/24`, 'dev', device);
        ip(host, 'address', 'add', `fd${network}::${number}/64`, 'dev', device, 'nodad');
      }
      ip(host, 'link', 'set', device, 'up');
    }
  };
  link(client, server, 'wan', 'eth0', 77);
  if (options.behind === true) {
    link(server, behind, 'eth1', 'lan', 78);
    for (const [host, via] of [
      [client, '10.77.0.1'],
      [behind, '10.78.0.1'],
    ] as const)
      ip(host, 'route', 'add', 'default', 'via', via);
    ip(client, '-6', 'route', 'add', 'default', 'via', 'fd77::1');
    ip(behind, '-6', 'route', 'add', 'default', 'via', 'fd78::1');
    command('ip', 'netns', 'exec', server, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  }
  const home = openSync('/proc/self/ns/net', 'r');
  enter(`/run/netns/${server}`);
  const as =
    (host: string) =>
    async <T>(action: () => T): Promise<T> => {
      enter(`/run/netns/${host}`);
      try {
        const result = action();
        // Node makes the descriptors of a socket some ticks after it was asked to; nothing else runs in between.
        for (let tick = 0; tick < 5; tick += 1) await new Promise<void>((resolve) => process.nextTick(resolve));
        return result;
      } finally {
        enter(`/run/netns/${server}`);
      }
    };
  return {
    client,
    server,
    behind,
    asClient: as(client),
    asBehind: as(behind),
    onClient: (...argv) => command('ip', 'netns', 'exec', client, ...argv),
    onBehind: (...argv) => command('ip', 'netns', 'exec', behind, ...argv),
    nft: (script) => void execFileSync('nft', ['-f', '-'], { input: script, stdio: ['pipe', 'pipe', 'pipe'] }),
    close: () => {
      assert.equal(setns(home, CLONE_NEWNET), 0);
      closeSync(home);
      for (const host of hosts) command('ip', 'netns', 'del', host);
    },
  };
}

export function value<T>(result: Parsed<T>): T {
  if (!result.ok) assert.fail(result.why);
  return result.value;
}

export const address = (text: string): IpAddress => value(parseAddress(text));
export const network = (text: string): Network => value(parseNetwork(text));
export const port = (text: string): PortRange => value(parsePortRange(text));

export const LAYOUT: GateLayout = {
  knockPort: 62201,
  interfaces: [],
  protect: ['tcp/22', 'tcp/8443', 'tcp/9000-9010', 'udp/5555'].map(port),
  trusted: [],
  networks: [],
  refuse: 'drop',
  unmatched: 'drop',
  sieve: { kind: 'log', group: 5, prefix: 'postern' },
  tagCapacity: 4000,
};

/** `grant 10.77.0.2 tcp/22`, `bound 10.77.0.2:4000 tcp/22` */
export function opening(kind: Opening['kind'], from: string, to: string, sourcePort = 0): Opening {
  const { protocol, first } = port(to);
  return { kind, address: address(from), protocol, port: first, sourcePort };
}

export function timed(opening_: Opening, remainingMs: number): TimedOpening {
  return { opening: opening_, remainingMs };
}

export const SERVER = { 4: '10.77.0.1', 6: 'fd77::1' } as const;
export const CLIENT = { 4: '10.77.0.2', 6: 'fd77::2' } as const;
export const NEIGHBOR = { 4: '10.77.0.3', 6: 'fd77::3' } as const;
export const VERSIONS = [4, 6] as const;

/** A service that sends back what it gets. `close` ends its connections too: some would never hear of their end. */
export async function echoService(portNumber: number, host = '::', as?: Lab['asClient']): Promise<{ readonly close: () => void }> {
  const sockets = new Set<Socket>();
  const listen = () => {
    const made = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.pipe(socket);
    }).listen(portNumber, host);
    return { server: made, listening: once(made, 'listening') };
  };
  const { server, listening } = as === undefined ? listen() : await as(listen);
  await listening;
  return {
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

export type Attempt = { readonly socket: Socket; readonly outcome: Promise<'open' | 'refused'> };

/** Starts to connect from the client. The outcome stays pending while nothing answers. */
export async function dial(lab: Lab, host: string, portNumber: number, from: string, localPort = 0): Promise<Attempt> {
  const socket = await lab.asClient(() =>
    netConnect({ host, port: portNumber, localAddress: from, ...(localPort === 0 ? {} : { localPort }), noDelay: true }),
  );
  const outcome = new Promise<'open' | 'refused'>((resolve) => {
    socket.once('connect', () => resolve('open'));
    socket.on('error', () => resolve('refused'));
  });
  return { socket, outcome };
}

/** Connects, and says what a user would see. `silent`: the gate counted the refusal of the first packet, and nothing had answered. */
export async function knockAtPort(
  lab: Lab,
  gate: Firewall,
  host: string,
  portNumber: number,
  from: string,
  localPort = 0,
): Promise<'open' | 'refused' | 'silent'> {
  const before = (await gate.counters()).refused;
  const { socket, outcome } = await dial(lab, host, portNumber, from, localPort);
  const counted = until(async () => (await gate.counters()).refused > before).then(() => 'silent' as const);
  // What is answered is answered at once; give an answer that follows a counted refusal (reject) its chance.
  const result = await Promise.race([outcome, counted.then(async (silent) => Promise.race([outcome, sleep(20).then(() => silent)]))]);
  socket.destroy();
  counted.catch(() => undefined);
  return result;
}

/** Sends a line and waits for its echo. False when the connection ends instead. */
export async function talk(socket: Socket, line: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    // A gate that drops what lives says nothing for ever.
    const timer = setTimeout(() => {
      forget();
      reject(new Error(`neither an answer nor an end within ${PATIENCE_MS / 1000} s`));
    }, PATIENCE_MS);
    const forget = (): void => {
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('close', onClose);
    };
    const done = (result: boolean): void => {
      forget();
      resolve(result);
    };
    let heard = '';
    const onData = (chunk: Buffer): void => {
      heard += chunk.toString();
      if (heard.includes(line)) done(true);
    };
    const onClose = (): void => done(false);
    socket.on('data', onData);
    socket.once('close', onClose);
    if (socket.destroyed) done(false);
    else socket.write(line);
  });
}

/** Whether the gate lets a connection go on no more: it resets it, or counts its packets and answers nothing (iptables). */
export async function isEnded(gate: Firewall, socket: Socket): Promise<boolean> {
  const before = (await gate.counters()).ended;
  const echoed = talk(socket, 'still there?');
  const counted = until(async () => (await gate.counters()).ended > before).then(() => false);
  counted.catch(() => undefined);
  return !(await Promise.race([echoed, counted]));
}

/** Waits until the condition holds. The condition is an event that nothing announces: a counter, a listing. */
export async function until(condition: () => Promise<boolean> | boolean, patienceMs = PATIENCE_MS): Promise<void> {
  for (let waited = 0; !(await condition()); waited += 5) {
    if (waited > patienceMs) assert.fail(`did not come true in ${patienceMs} ms: ${condition.toString()}`);
    await sleep(5);
  }
}

/** A UDP socket that is bound on the host of `as` (lab.asClient, lab.asBehind). */
export async function udpSocket(as: Lab['asClient'], version: 4 | 6, portNumber: number, host?: string): Promise<DatagramSocket> {
  const { socket, listening } = await as(() => {
    const made = createSocket(version === 4 ? 'udp4' : 'udp6');
    return { socket: made.bind(portNumber, host), listening: once(made, 'listening') };
  });
  await listening;
  return socket;
}

/** Sends datagrams from the client, in order. */
export async function sendDatagrams(
  lab: Lab,
  payloads: readonly Uint8Array[],
  host: string,
  portNumber: number,
  from: string,
): Promise<void> {
  const socket = await udpSocket(lab.asClient, host.includes(':') ? 6 : 4, 0, from);
  socket.on('error', () => undefined);
  for (const payload of payloads) {
    await new Promise<void>((resolve, reject) => {
      socket.send(payload, portNumber, host, (error) => (error === null ? resolve() : reject(error)));
    });
  }
  socket.close();
}

/** A datagram as long as a knock, headed by its tag. */
export function datagram(tag: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(200).fill(0xaa);
  bytes.set(tag);
  return bytes;
}

export function tagNumber(number: number): Uint8Array {
  const tag = new Uint8Array(16).fill(0x77);
  new DataView(tag.buffer).setUint32(0, number);
  return tag;
}
