// `knock proxy` as the ProxyCommand of a real ssh to a real sshd behind a real posternd, and as a pipe to any TCP service.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labMissing } from '../lab/lab.ts';
import { runNow } from '../lab/process.ts';
import { FORBIDDEN_PORT, PORT, REQUEST, Stage } from '../lab/stage.ts';
import { Terminal } from '../lab/terminal.ts';
import { waitFor } from '../lab/wait.ts';
import { KNOCK } from './client-doorway.ts';
import { Sshd } from './client-sshd.ts';

const NEEDED = ['ssh', 'scp', 'rsync', '/usr/sbin/sshd'];
const missing = NEEDED.filter((name) => runNow(['sh', '-c', `command -v ${name}`]) === '');
const skip = labMissing() ?? (missing.length > 0 ? `missing: ${missing.join(' ')}` : false);
const PEER = fileURLToPath(new URL('./client-peer.js', import.meta.url));
/** Protected, given once. */
const ONCE_PORT = 8024;
/** Not protected: what a trusted network sees. */
const OPEN_PORT = 8030;
const PEER_PORT = 8031;
const MEBIBYTE = 1024 * 1024;

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('knock proxy', { skip, timeout: 300_000 }, () => {
  let stage: Stage;
  let sshd: Sshd;
  before(async () => {
    stage = await Stage.create({
      label: 'proxy',
      config: { protect: ['tcp/22', REQUEST, `tcp/${ONCE_PORT}`, `tcp/${FORBIDDEN_PORT}`, `tcp/${PEER_PORT}`] },
      allow: [
        { services: ['tcp/22', REQUEST, `tcp/${PEER_PORT}`], ttl: '30s', max_ttl: '1h' },
        { services: [`tcp/${ONCE_PORT}`], once: true, default: false, ttl: '30s' },
      ],
    });
    await stage.server.listen({ tcp: [ONCE_PORT, OPEN_PORT] });
    sshd = await Sshd.start(stage);
  });
  after(async () => {
    sshd?.close();
    await stage?.close();
  });
  afterEach(async () => {
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
  });

  /** Runs `knock proxy …` on the client with this input. */
  const proxy = (args: readonly string[], stdin: string | Uint8Array = '') =>
    stage.alice.knock(['proxy', ...args], { stdin, mayFail: true, timeoutMs: 60_000 });

  /** The client's first SYN of each connection is lost; the kernel sends the next one after a second. */
  async function whileSlow(work: () => Promise<void>): Promise<void> {
    const firstSyn = 'tcp flags & (syn | ack) == syn tcp sport != @tried add @tried { tcp sport } drop;';
    await stage.client.nft(
      `table inet slow { set tried { type inet_service; flags dynamic; timeout 1m; }\n chain c { type filter hook output priority 0; ${firstSyn} }\n}`,
    );
    try {
      await work();
    } finally {
      await stage.client.nft('delete table inet slow');
    }
  }

  describe('ssh', () => {
    test('without it, the port is shut; with it, ssh gets in and prints nothing of its own', async () => {
      for (const name of ['web1', 'web6']) {
        const shut = await sshd.ssh([name === 'web1' ? 'direct' : 'direct6', 'true'], { mayFail: true });
        assert.match(shut.stderr, /timed out/);
        const open = await sshd.ssh([name, 'echo $SSH_CONNECTION'], { mayFail: true });
        assert.deepEqual([open.code, open.stderr], [0, '']);
        assert.match(open.stdout, / 22\n$/);
        await stage.postern.posternd(['revoke', 'alice']);
      }
    });

    test('who can "ssh web1" can "knock web1": no option, no file of knock’s own', async () => {
      const file = join(stage.alice.home, '.config', 'knock', 'config.yaml');
      const profiles = readFileSync(file);
      writeFileSync(file, '');
      try {
        for (const name of ['web1', 'web6', 'both.test']) {
          const result = await stage.alice.knock([name]);
          assert.match(result.stdout, /^open after \d+(\.\d)? ms\n$/);
          assert.match(result.stderr, /^knock: no SERVICE was named: tcp\/22 of \S+ was checked\n$/);
          await stage.postern.posternd(['revoke', 'alice']);
        }
      } finally {
        writeFileSync(file, profiles);
      }
    });

    test('gives back the exit code of the remote command, and passes standard error apart', async () => {
      const result = await sshd.ssh(['web1', 'echo out; echo err >&2; exit 7'], { mayFail: true });
      assert.deepEqual([result.code, result.stdout, result.stderr], [7, 'out\n', 'err\n']);
    });

    test('%h works as well as %n', async () => {
      sshd.configure(`${process.execPath} ${KNOCK} proxy %h %p`);
      try {
        assert.equal((await sshd.ssh(['web1', 'echo in'])).stdout, 'in\n');
      } finally {
        sshd.configure();
      }
    });

    test('scp and rsync carry files in both directions, byte for byte', async () => {
      const [there, back] = [join(sshd.folder, 'there'), join(sshd.folder, 'back')];
      const source = join(sshd.folder, 'source');
      writeFileSync(source, randomBytes(24 * MEBIBYTE));
      const rsyncRsh = ['ssh', ...sshd.option].join(' ');
      const runs = [
        ['scp', '-q', ...sshd.option, source, `web1:${there}`],
        ['scp', '-q', ...sshd.option, `web1:${there}`, back],
        ['rsync', '-e', rsyncRsh, source, `web1:${there}`],
        ['rsync', '-e', rsyncRsh, `web1:${there}`, back],
      ];
      for (const argv of runs) {
        const target = argv.at(-1) === back ? back : there;
        writeFileSync(target, 'old');
        const result = await sshd.command(argv, { mayFail: true });
        assert.deepEqual([result.code, result.stderr], [0, ''], argv.join(' '));
        assert.equal(digest(readFileSync(target)), digest(readFileSync(source)), argv.join(' '));
      }
    });

    test('carries much in both directions at once, byte for byte', async () => {
      const [file, copy] = [join(sshd.folder, 'much'), join(sshd.folder, 'copy')];
      writeFileSync(file, randomBytes(48 * MEBIBYTE));
      const line = `ssh ${sshd.option.join(' ')} web1 cat < ${file} > ${copy}`;
      await sshd.command(['sh', '-c', line]);
      assert.equal(digest(readFileSync(copy)), digest(readFileSync(file)));
    });

    test('one line says why there is no connection, before ssh’s own', async () => {
      sshd.configure(`${process.execPath} ${KNOCK} proxy -p 62202 --timeout 1s %n %p`);
      try {
        const result = await sshd.ssh(['web1', 'true'], { mayFail: true });
        assert.equal(result.code, 255);
        const [ours = '', ...rest] = result.stderr.trim().split('\n');
        assert.match(ours, /^knock: tcp\/22 on [\d.]+ did not open within 1 s/);
        assert.deepEqual(
          rest.filter((line) => line.startsWith('knock') || line.startsWith(' ')),
          [],
        );
      } finally {
        sshd.configure();
      }
    });
  });

  describe('any TCP service', () => {
    /** What the peer on the server reports of one connection. */
    async function withPeer<T>(mode: string, act: (said: () => string) => Promise<T>): Promise<T> {
      const peer = stage.server.start([process.execPath, PEER, mode, String(PEER_PORT)]);
      try {
        await peer.waitForOutput(/ready/);
        return await act(() => peer.stdout);
      } finally {
        await peer.stop();
      }
    }

    test('an end of the input is a half-close: the answer still comes', async () => {
      const sent = randomBytes(8 * MEBIBYTE);
      await withPeer('digest-at-end', async () => {
        const result = await proxy(['server4', String(PEER_PORT)], sent);
        assert.deepEqual([result.code, result.stderr, result.stdout], [0, '', `${digest(sent)}\n`]);
      });
    });

    test('an end of the connection ends the output, while the input goes on', async () => {
      await withPeer('end-first', async (said) => {
        const running = stage.client.start([process.execPath, KNOCK, 'proxy', 'server4', String(PEER_PORT)], {
          env: { HOME: stage.alice.home },
        });
        const ended = new Promise<void>((resolve) => running.child.stdout?.once('end', () => resolve()));
        running.child.stdout?.resume();
        await ended;
        assert.equal(running.ended, false);
        running.child.stdin?.end('still here\n');
        assert.equal((await running.exited).code, 0);
        await waitFor(() => said().includes('got still here'), { what: 'the rest of the input to arrive' });
      });
    });

    test('is read no faster than its reader reads: memory stays small', async () => {
      await withPeer('flood', async () => {
        // The shell holds the pipe open and reads nothing until its own input ends.
        const line = `${process.execPath} ${KNOCK} proxy server4 ${PEER_PORT} 3>&1 | { read hold < ${join(sshd.folder, 'gate')}; wc -c; }`;
        runNow(['mkfifo', join(sshd.folder, 'gate')]);
        const running = stage.client.start(['sh', '-c', line], { env: { HOME: stage.alice.home } });
        const pid = await waitFor(() => Number(runNow(['pgrep', '-n', '-f', `${KNOCK} proxy server4 ${PEER_PORT}`])) || undefined);
        const received = () => queueBytes(pid);
        // The kernel's queues are full when what waits to be read stops growing.
        let last = -1;
        const stands = () => {
          const before = last;
          last = received();
          return last > 0 && last === before;
        };
        await waitFor(stands, { intervalMs: 200, what: 'the flow to stop' });
        const peakKib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
        assert.ok(peakKib < 120 * 1024, `${peakKib} KiB`);
        writeFileSync(join(sshd.folder, 'gate'), 'go\n');
        running.child.stdin?.end();
        await running.exited;
        assert.equal(running.stdout.trim(), String(256 * MEBIBYTE));
      });
    });

    test('without input, a service that speaks first is heard', async () => {
      const result = await proxy(['web1', '22']);
      assert.deepEqual([result.code, result.stderr], [0, '']);
      assert.match(result.stdout, /^SSH-2\.0-/);
    });

    test('says when the connection breaks, and ends with 1', async () => {
      await withPeer('reset', async () => {
        const result = await proxy(['server4', String(PEER_PORT)]);
        assert.deepEqual([result.code, result.stderr], [1, 'knock: the connection to "server4" broke (ECONNRESET)\n']);
      });
    });

    test('uses a port that is open already, with a key that is enrolled nowhere or none at all', async () => {
      const address = stage.server.ipv4();
      const enrolled = await proxy([address, String(OPEN_PORT)], 'hi');
      assert.deepEqual([enrolled.code, enrolled.stdout, enrolled.stderr], [0, 'hello\nhi', '']);
      const keyless = async (...options: readonly string[]) => {
        const args = ['proxy', address, String(OPEN_PORT), ...options];
        return await stage.alice.knock(args, { stdin: 'hi', env: { HOME: sshd.folder }, mayFail: true });
      };
      const { code, stdout, stderr } = await keyless();
      assert.deepEqual([code, stdout, stderr], [0, 'hello\nhi', '']);
      assert.match((await keyless('-v')).stderr, /^knock: the port is open: no knock is needed$/m);
    });

    test('a port that is open and slow to answer is waited for, where no key would help', async () => {
      await whileSlow(async () => {
        const args = ['proxy', stage.server.ipv4(), String(OPEN_PORT)];
        const result = await stage.alice.knock(args, { stdin: 'hi', env: { HOME: sshd.folder }, mayFail: true });
        assert.deepEqual([result.code, result.stdout, result.stderr], [0, 'hello\nhi', '']);
      });
    });

    test('who is asked for a passphrase has the terminal to themselves, though the port opens meanwhile', async () => {
      const key = join(sshd.folder, 'locked');
      runNow(['ssh-keygen', '-q', '-t', 'ed25519', '-N', 'open sesame', '-f', key]);
      await whileSlow(async () => {
        const args = ['proxy', stage.server.ipv4(), String(OPEN_PORT), '-i', key, '--server-key', stage.postern.publicLine];
        const terminal = await Terminal.open(stage.client.inside([process.execPath, KNOCK, ...args]), { env: { HOME: sshd.folder } });
        try {
          await terminal.shows(/Passphrase for/);
          const connected = ['ss', '-Htn', 'state', 'established', `dport = :${OPEN_PORT}`];
          await waitFor(async () => (await stage.client.exec(connected)).stdout !== '', { what: 'the connection' });
          assert.doesNotMatch(await terminal.screen(), /hello/);
          await terminal.type('open sesame');
          await terminal.press('Enter');
          assert.doesNotMatch(await terminal.shows(/hello/), /sesame/);
        } finally {
          terminal.close();
        }
      });
    });

    test('a one-shot grant is spent on the connection itself, never on a trial', async () => {
      for (const [at, address] of [...stage.server.addresses(), ...stage.server.addresses()].entries()) {
        const result = await proxy([address, String(ONCE_PORT), ...(at % 2 === 0 ? ['--once'] : [])], `run ${at}`);
        assert.deepEqual([result.code, result.stdout, result.stderr], [0, `hello\nrun ${at}`, '']);
        assert.equal((await stage.client.connect(address, ONCE_PORT, { timeoutMs: 300 })).outcome, 'timeout');
      }
    });

    test('a name with A and AAAA: what opens first wins, though the other family is dead', async () => {
      for (const dead of ['ip6', 'ip']) {
        await stage.client.nft(
          `table inet dead { chain c { type filter hook output priority 0; meta nfproto ${dead === 'ip' ? 'ipv4' : 'ipv6'} drop; }\n}`,
        );
        try {
          const key = stage.postern.publicLine;
          const result = await proxy(['both.test', String(PORT), '--server-key', key], dead);
          assert.deepEqual([result.code, result.stdout, result.stderr], [0, `hello\n${dead}`, '']);
        } finally {
          await stage.client.nft('delete table inet dead');
          await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
        }
      }
    });

    const refused = [
      { text: 'a port that is none', args: ['server4', '0'], code: 2, says: /^knock: not a port: "0" \(a number from 1 to 65535/ },
      { text: 'a service instead of a port', args: ['server4', 'ssh'], code: 2, says: /^knock: not a port: "ssh"/ },
      { text: 'no port', args: ['server4'], code: 2, says: /^knock: missing required argument 'PORT'/ },
      { text: 'an option of others', args: ['server4', '22', '--dry-run'], code: 2, says: /^knock: unknown option '--dry-run'/ },
      { text: 'a name that nobody knows', args: ['nosuch.test', '22'], code: 1, says: /^knock: the name "nosuch\.test" / },
      {
        text: 'a service that the rule does not give',
        args: ['server4', String(FORBIDDEN_PORT), '--timeout', '1s'],
        code: 1,
        says: /^knock: tcp\/8023 on [\d.]+ did not open within 1 s/,
      },
      {
        text: 'nothing listens',
        args: ['server4', String(PEER_PORT), '--timeout', '2s'],
        code: 1,
        says: /^knock: the door opened, but nothing listens behind it/,
      },
    ] as const;
    for (const { text, args, code, says } of refused) {
      test(`one line for ${text}`, async () => {
        const result = await proxy(args);
        assert.match(result.stderr, says);
        assert.deepEqual([result.code, result.stdout, result.stderr.split('\n').length], [code, '', 2]);
      });
    }
  });
});

/** Bytes that this process's TCP connection has received and not read yet. */
function queueBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/net/tcp`, 'utf8');
  return Math.max(0, ...text.split('\n').map((line) => Number.parseInt(/ [0-9A-F]{8}:([0-9A-F]{8}) /.exec(line)?.[1] ?? '0', 16)));
}
