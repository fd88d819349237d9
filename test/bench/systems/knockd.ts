// knockd of Debian as a system under test: a sequence of three UDP ports, sent back to back; iptables run by its own commands.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Running } from '../../lab/process.ts';
import { removeScratch, scratchFolder } from '../../lab/scratch.ts';
import { TIMED_PORT } from '../crowd.ts';
import { closeByIptables } from './iptables-policy.ts';
import { GRANT_SECONDS, type Ground, type SystemUnderTest } from './system.ts';

const SEQUENCE = [7001, 8001, 9001];

export async function createKnockd(ground: Ground, options: { readonly name: string }): Promise<SystemUnderTest> {
  const { server } = ground;
  const folder = scratchFolder('knockd');
  const config = join(folder, 'knockd.conf');
  const rule = `INPUT -s %IP% -p tcp --dport ${TIMED_PORT} -j ACCEPT`;
  const lines = [
    '[options]',
    `  logfile = ${join(folder, 'knockd.log')}`,
    '[door]',
    `  sequence = ${SEQUENCE.map((port) => `${port}:udp`).join(',')}`,
    '  seq_timeout = 5',
    `  start_command = /usr/sbin/iptables -I ${rule}`,
    `  cmd_timeout = ${GRANT_SECONDS}`,
    `  stop_command = /usr/sbin/iptables -D ${rule}`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  let daemon: Running | undefined;

  return {
    name: options.name,
    ground,
    start: async () => {
      await closeByIptables(server, []);
      const started = performance.now();
      daemon = server.start(['knockd', '--verbose', '--interface', 'eth0', '--config', config, '--pidfile', join(folder, 'pid')]);
      await daemon.waitForOutput(/listening on eth0/, 20_000);
      return { tookMs: performance.now() - started };
    },
    stop: async () => void (await daemon?.stop()),
    pid: () => {
      if (daemon === undefined || daemon.ended) throw new Error(`knockd does not run\n${daemon?.stderr ?? ''}`);
      return daemon.pid;
    },
    knocks: async (from) => from.map((address) => ({ from: address, datagrams: SEQUENCE.map((port) => ({ port, payload: '' })) })),
    clientCommand: () => ({ argv: ['/usr/bin/knock', '-u', server.ipv4(), ...SEQUENCE.map(String)], env: {} }),
    shut: async () => {
      await closeByIptables(server, []);
    },
    close: async () => {
      daemon?.kill('SIGKILL');
      await daemon?.exited;
      removeScratch(folder);
    },
  };
}
