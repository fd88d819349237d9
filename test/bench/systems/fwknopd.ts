// fwknopd of Debian as a system under test: keys made by its own client, HMAC on, iptables, knocks built by its own client.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, run } from '../../lab/process.ts';
import { removeScratch, scratchFolder } from '../../lab/scratch.ts';
import { TIMED_PORT } from '../crowd.ts';
import { closeByIptables } from './iptables-policy.ts';
import { clientAddress, GRANT_SECONDS, type Ground, type SystemUnderTest } from './system.ts';

const KNOCK_PORT = 62_201;
const LISTENS = /Kicking off UDP server|Starting fwknopd main event loop/;

export type FwknopdOptions = {
  readonly name: string;
  /** How it sees packets: libpcap (the default), or a UDP socket. */
  readonly mode: 'pcap' | 'udp';
  /** Microseconds between two looks at libpcap; its default is 100,000. */
  readonly sleepUs?: number;
  /** Stanzas of access.conf, each with keys of its own. */
  readonly clients?: number;
};

type Keys = { readonly cipher: string; readonly hmac: string };

export async function createFwknopd(ground: Ground, options: FwknopdOptions): Promise<SystemUnderTest> {
  const { server } = ground;
  const folder = scratchFolder('fwknopd');
  const [config, access, rc] = [join(folder, 'fwknopd.conf'), join(folder, 'access.conf'), join(folder, '.fwknoprc')];
  mkdirSync(join(folder, 'run'));
  const keys = await makeKeys(options.clients ?? 1);
  const how =
    options.mode === 'udp'
      ? ['ENABLE_UDP_SERVER Y;', `UDPSERV_PORT ${KNOCK_PORT};`]
      : [
          'PCAP_INTF eth0;',
          `PCAP_FILTER udp port ${KNOCK_PORT};`,
          ...(options.sleepUs === undefined ? [] : [`PCAP_LOOP_SLEEP ${options.sleepUs};`]),
        ];
  writeFileSync(config, `${[...how, `FWKNOP_RUN_DIR ${join(folder, 'run')};`].join('\n')}\n`, { mode: 0o600 });
  writeFileSync(access, keys.map(stanza).join('\n'), { mode: 0o600 });
  // The client's own file: keys in an argument would be read by whoever lists processes.
  const profiles = keys.map(({ cipher, hmac }, at) => `[c${at}]\nKEY_BASE64 ${cipher}\nHMAC_KEY_BASE64 ${hmac}\nUSE_HMAC Y\n`);
  writeFileSync(rc, profiles.join('\n'), { mode: 0o600 });
  let daemon: Running | undefined;

  const clientArgs = (number: number, from: string): readonly string[] => [
    ...[
      'fwknop',
      '--rc-file',
      rc,
      '--named-config',
      `c${number}`,
      '--no-save-args',
      '-A',
      `tcp/${TIMED_PORT}`,
      '-a',
      from,
      '-D',
      server.ipv4(),
    ],
  ];
  let made = 0;
  const build = async (from: string, number: number): Promise<string> => {
    made += 1;
    const file = join(folder, `knock${made}`);
    await run([...clientArgs(number, from), '--test', '--save-packet', file], { env: { HOME: folder } });
    const packet = readFileSync(file, 'latin1').trim();
    rmSync(file);
    return Buffer.from(packet, 'latin1').toString('base64');
  };

  return {
    name: options.name,
    ground,
    start: async () => {
      await closeByIptables(server, options.mode === 'udp' ? [KNOCK_PORT] : []);
      const started = performance.now();
      const files = ['-c', config, '-a', access, '-r', join(folder, 'run'), '-d', join(folder, 'digest'), '-p', join(folder, 'pid')];
      daemon = server.start(['fwknopd', '--foreground', ...files], { env: { HOME: folder } });
      await daemon.waitForOutput(LISTENS, 120_000);
      return { tookMs: performance.now() - started };
    },
    stop: async () => void (await daemon?.stop()),
    pid: () => running(daemon).pid,
    knocks: async (from, number = 0) => {
      const knocks = [];
      for (const address of from) knocks.push({ from: address, datagrams: [{ port: KNOCK_PORT, payload: await build(address, number) }] });
      return knocks;
    },
    clientCommand: () => ({ argv: clientArgs(0, clientAddress(ground)), env: { HOME: folder } }),
    shut: async () => void (await server.exec(['iptables', '--flush', 'FWKNOP_INPUT'])),
    close: async () => {
      daemon?.kill('SIGKILL');
      await daemon?.exited;
      removeScratch(folder);
    },
  };
}

function running(daemon: Running | undefined): Running {
  if (daemon === undefined || daemon.ended) throw new Error(`fwknopd does not run\n${daemon?.stderr ?? ''}`);
  return daemon;
}

function stanza({ cipher, hmac }: Keys): string {
  const lines = ['SOURCE ANY', `OPEN_PORTS tcp/${TIMED_PORT}`, `KEY_BASE64 ${cipher}`, `HMAC_KEY_BASE64 ${hmac}`];
  return `${[...lines, 'REQUIRE_SOURCE_ADDRESS Y', `FW_ACCESS_TIMEOUT ${GRANT_SECONDS}`].join('\n')}\n`;
}

async function makeKeys(count: number): Promise<readonly Keys[]> {
  const keys: Keys[] = [];
  for (let number = 0; number < count; number += 1) {
    const { stdout } = await run(['fwknop', '--key-gen', '--use-hmac'], { env: { HOME: '/nonexistent' } });
    const [, cipher, hmac] = /^KEY_BASE64: (\S+)\nHMAC_KEY_BASE64: (\S+)$/m.exec(stdout) ?? [];
    if (cipher === undefined || hmac === undefined) throw new Error(`fwknop --key-gen: ${stdout}`);
    keys.push({ cipher, hmac });
  }
  return keys;
}
