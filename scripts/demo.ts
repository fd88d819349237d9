// The demonstration (sudo npm run demo): a server whose service nobody can see, a client that knocks, and an attacker who tries.
// Everything is real: kernel, nftables, posternd, knock, nmap, tcpdump, tcpreplay. Each step checks what it shows; about 40 s.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Capture } from '../test/lab/capture.ts';
import type { Host } from '../test/lab/host.ts';
import { Installation, Knocker } from '../test/lab/installation.ts';
import { createLab, labMissing } from '../test/lab/lab.ts';
import { waitFor } from '../test/lab/wait.ts';
import { DemoFailure, Narration } from './demo-narration.ts';

const DEADLINE_MS = 120_000;
const PORT = 8080;
const KNOCK_PORT = 62201;
const TTL_S = 5;
/** How much later than promised a door may be seen closed: the next look, on a busy machine. */
const SLACK_MS = 1_500;

type Stage = {
  readonly tell: Narration;
  readonly server: Host;
  readonly client: Host;
  readonly stranger: Host;
  readonly postern: Installation;
  readonly alice: Knocker;
};

async function main(): Promise<void> {
  const missing = labMissing();
  if (missing !== undefined) throw new DemoFailure(missing);
  const colored = process.stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === '';
  const tell = new Narration((text) => process.stdout.write(text), colored);
  const lab = await createLab({ label: 'demo', deadlineMs: DEADLINE_MS });
  const opened: { close: () => unknown }[] = [];
  try {
    const [server, client, stranger] = [await lab.host('server'), await lab.host('client'), await lab.host('stranger')];
    await lab.lan(server, client, stranger);
    const alice = await Knocker.create(client, 'alice');
    opened.push(alice);
    const postern = await Installation.create(server, config(), rules(alice));
    opened.push(postern);
    alice.trust(postern);
    const stage: Stage = { tell, server, client, stranger, postern, alice };
    await layOut(stage);
    await nothingToSee(stage);
    const knockedAtMs = await knockAndConnect(stage);
    await whoIsIn(stage);
    await runsOut(stage, knockedAtMs);
    const packet = await knockAgainObserved(stage);
    opened.push(packet);
    await replayDies(stage, packet);
    await killed(stage);
    tell.step('Clean up');
    tell.say('Every network namespace, process and file of this demonstration is removed.');
  } finally {
    for (const each of opened.reverse()) await each.close();
    await lab.close();
  }
  tell.say('Done: all that was shown held.');
}

function config(): string {
  return `port: ${KNOCK_PORT}
protect: [web]
services:
  web: tcp/${PORT}
refuse: reject     # a closed door looks like any closed port
`;
}

function rules(alice: Knocker): string {
  return `name: demonstration
clients:
  - name: alice
    key: ${alice.publicLine}
    slots: 64     # the client of this laboratory is in a hurry
allow:
  - services: [web]
    ttl: ${TTL_S}s
`;
}

const url = (address: string) => `http://${address.includes(':') ? `[${address}]` : address}:${PORT}/`;

/** The answer of the web service, as curl shows it. */
async function curl({ tell }: Stage, from: Host, address: string) {
  const argv = ['curl', '--silent', '--show-error', '--max-time', '2', url(address)];
  return tell.shell(from, `curl ${url(address)}`, () => from.exec(argv, { mayFail: true }));
}

async function knock({ tell, client, alice }: Stage, address: string) {
  return tell.shell(client, `knock ${address} tcp/${PORT}`, () => alice.knock([address, `tcp/${PORT}`], { mayFail: true }));
}

async function layOut({ tell, server, client, stranger, postern }: Stage): Promise<void> {
  tell.step('A server, a client and a stranger, each a network namespace of this machine');
  tell.say(`
   client    ${client.ipv4()}  ──┐
   stranger  ${stranger.ipv4()}  ──┼──  server  ${server.ipv4()}  ${server.ipv6()}
                            │    a web service on tcp/${PORT}, closed unless somebody knocks`);
  const program = `require('http').createServer((_, answer) => answer.end('the secret page\\n')).listen(${PORT}, '::', () => console.log('listening'))`;
  const web = server.start([process.execPath, '-e', program]);
  await web.waitForOutput(/listening/);
  tell.say('The configuration of the server, beside the paths of its files:');
  tell.output(config());
  tell.say(`One rule: alice may open it, for ${TTL_S} seconds a knock.`);
  const checked = await tell.shell(server, 'posternd check', () => postern.posternd(['check'], { mayFail: true }));
  tell.check(checked.code === 0, 'everything is right for a start');
  tell.prompt(server, 'posternd run');
  const daemon = await postern.start();
  tell.output(daemon.stdout + daemon.stderr);
  tell.say('What listens on the server. Nothing of Postern does: it sees knocks through the kernel’s packet log.');
  const shown = await tell.shell(server, 'ss -H -lntup', () => server.exec(['ss', '-H', '-lntup']));
  tell.check(shown.stdout.trim().split('\n').length === 1 && !shown.stdout.includes(String(KNOCK_PORT)), 'only the web service listens');
}

async function nothingToSee(stage: Stage): Promise<void> {
  const { tell, client, stranger, server } = stage;
  tell.step('Without a knock there is nothing to see');
  const argv = ['nmap', '-n', '-Pn', '-sS', '-p', '1-10000', server.ipv4()];
  const scan = await tell.shell(stranger, argv.join(' '), () => stranger.exec(argv));
  tell.check(/All 10000 scanned ports/.test(scan.stdout), 'a scan of 10,000 ports finds nothing: each looks closed, the web service too');
  for (const address of server.addresses()) {
    const tried = await curl(stage, client, address);
    tell.check(tried.code !== 0, `the client cannot connect to ${address} either`, tried.stdout);
  }
}

/** Gives the time of the last knock. */
async function knockAndConnect(stage: Stage): Promise<number> {
  const { tell, client, stranger, server } = stage;
  let knockedAtMs = performance.now();
  for (const [family, address] of [
    ['IPv4', server.ipv4()],
    ['IPv6', server.ipv6()],
  ] as const) {
    tell.step(`One signed packet opens the door, over ${family}`);
    const knocked = await knock(stage, address);
    knockedAtMs = performance.now();
    tell.check(knocked.code === 0 && /open after [\d.]+ ms/.test(knocked.stdout + knocked.stderr), 'knock says that the port is open');
    const answer = await curl(stage, client, address);
    tell.check(answer.stdout.includes('the secret page'), 'the client reaches the service');
    const other = await curl(stage, stranger, address);
    tell.check(other.code !== 0, 'for the stranger it is as closed as before', other.stdout);
  }
  return knockedAtMs;
}

async function whoIsIn({ tell, server, postern }: Stage): Promise<void> {
  tell.step('The administrator sees who is in');
  const status = await tell.shell(server, 'posternd status', () => postern.posternd(['status']));
  tell.check(/alice/.test(status.stdout), 'status names alice, her address and the time that is left');
}

async function runsOut(stage: Stage, knockedAtMs: number): Promise<void> {
  const { tell, server, client } = stage;
  tell.step(`The grants run out after ${TTL_S} seconds, by the kernel’s own clock`);
  const lastedMs = await untilClosed(stage, knockedAtMs, server.ipv6());
  tell.check(lastedMs < TTL_S * 1000 + SLACK_MS, `closed ${(lastedMs / 1000).toFixed(1)} s after the second knock`);
  for (const address of server.addresses()) {
    const answer = await curl(stage, client, address);
    tell.check(answer.code !== 0, 'the client is out again', answer.stdout);
  }
}

/** Tries to connect until the door is shut; how long after `sinceMs` that was. */
async function untilClosed({ tell, client, server }: Stage, sinceMs: number, address = server.ipv4()): Promise<number> {
  tell.say('The client tries to connect ten times a second …');
  await waitFor(async () => (await client.connect(address, PORT)).outcome !== 'open', {
    deadlineMs: TTL_S * 1000 + 10 * SLACK_MS,
    intervalMs: 100,
    what: 'the door to close',
  });
  return performance.now() - sinceMs;
}

async function knockAgainObserved(stage: Stage): Promise<Capture> {
  const { tell, client, server } = stage;
  tell.step('A second knock, and somebody on the way records it');
  const filter = `udp dst port ${KNOCK_PORT}`;
  tell.prompt(client, `tcpdump -w knock.pcap ${filter} &`);
  const capture = await client.capture({ filter, direction: 'out' });
  const knocked = await knock(stage, server.ipv4());
  tell.check(knocked.code === 0, 'the door is open again');
  const frames = await capture.waitForFrames(1);
  await capture.stop();
  const read = ['tcpdump', '-n', '-q', '-r', capture.file];
  await tell.shell(client, 'tcpdump -n -q -r knock.pcap', async () => ({ ...(await client.exec(read)), stderr: '' }));
  tell.check(frames.length > 0, 'the packet is recorded: nothing in it can be read, everything in it is signed');
  await untilClosed(stage, performance.now());
  tell.check((await stage.client.connect(server.ipv4(), PORT)).outcome === 'refused', 'this grant has run out as well');
  return capture;
}

async function replayDies(stage: Stage, packet: Capture): Promise<void> {
  const { tell, client, stranger, server, postern } = stage;
  tell.step('The recorded packet is worth nothing: a replay dies in the kernel');
  const counter = ['nft', 'list', 'counter', 'inet', 'postern', 'junk'];
  const readCounter = async () => {
    const shown = await tell.shell(server, counter.join(' '), () => server.exec(counter));
    return Number(/packets (\d+)/.exec(shown.stdout)?.[1]);
  };
  const before = await postern.status();
  const junkBefore = await readCounter();
  const replay = async (from: Host, file: string, name: string) =>
    tell.shell(from, `tcpreplay -i eth0 ${name}`, async () => ({
      ...(await from.exec(['tcpreplay', '-q', '-i', 'eth0', file])),
      stdout: '',
      stderr: '',
    }));
  tell.say('From the address that knocked:');
  await replay(client, packet.file, 'knock.pcap');
  tell.say('From the stranger’s own address:');
  const moved = join(dirname(packet.file), 'moved.pcap');
  const rewrite = [`--srcipmap=${client.ipv4()}/32:${stranger.ipv4()}/32`, `--enet-smac=${stranger.interfaces[0]?.mac}`, '--fixcsum'];
  tell.prompt(stranger, `tcprewrite --srcipmap=${client.ipv4()}:${stranger.ipv4()} … knock.pcap moved.pcap`);
  await stranger.exec(['tcprewrite', ...rewrite, '-i', packet.file, '-o', moved]);
  tell.check(existsSync(moved), 'the packet has the stranger’s address now');
  await replay(stranger, moved, 'moved.pcap');
  const junkAfter = await waitFor(async () => {
    const shown = await server.exec(counter);
    const packets = Number(/packets (\d+)/.exec(shown.stdout)?.[1]);
    return packets >= junkBefore + 2 && packets;
  });
  await readCounter();
  const after = await postern.status();
  tell.check(junkAfter >= junkBefore + 2, `the kernel counted both as junk: ${junkBefore} before, ${junkAfter} after`);
  tell.check(after.capture.seen === before.capture.seen, 'the daemon was not even woken: it has seen as many packets as before');
  for (const from of [client, stranger]) {
    tell.checkConnect(await from.connect(server.ipv4(), PORT), 'refused', `closed for the ${from.name}`);
  }
}

async function killed(stage: Stage): Promise<void> {
  const { tell, server, client, postern } = stage;
  tell.step('The daemon is killed while a door is open: the kernel still closes it on time');
  await knock(stage, server.ipv4());
  const since = performance.now();
  tell.prompt(server, `kill -9 ${postern.daemon.pid}`);
  await postern.killHard();
  tell.checkConnect(await client.connect(server.ipv4(), PORT), 'open', 'the daemon is dead, the door is still open');
  const lastedMs = await untilClosed(stage, since);
  tell.check(lastedMs < TTL_S * 1000 + SLACK_MS, `closed ${(lastedMs / 1000).toFixed(1)} s after the knock, with no daemon`);
}

// A reader that went away (| head) ends the demonstration; the laboratory is removed at the end of the process.
process.stdout.on('error', () => process.exit(1));
try {
  await main();
} catch (error) {
  if (error instanceof DemoFailure) process.stderr.write(`\ndemo: not as promised: ${error.message}\n`);
  else process.stderr.write(`\ndemo: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
}
