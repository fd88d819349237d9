// How much later the first byte of a service comes through `knock proxy`, with a shut door, than through a node that connects directly:
// sudo npm run bench -- first-byte [RUNS]. Both are whole processes, started in turn in the client's namespace, so that what is left is the knock.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PORT, REQUEST, Stage } from '../lab/stage.ts';
import { machineLines } from './machine.ts';

const RUNS = Number(process.argv[2] ?? 25);
const KNOCK = fileURLToPath(new URL('../../client/knock.cjs', import.meta.url));
if (!existsSync(KNOCK)) throw new Error('no bundle: npm run build');

const stage = await Stage.create({ label: 'bench', allow: [{ services: [REQUEST], ttl: '30s' }] });
try {
  const address = stage.server.ipv4();
  const direct = `require('node:net').connect({host:${JSON.stringify(address)},port:${PORT},allowHalfOpen:true}).pipe(process.stdout)`;
  const times: Record<'direct' | 'knocking' | 'open already', number[]> = { direct: [], knocking: [], 'open already': [] };
  // One of each that does not count: what the first start reads from the disk.
  for (let run = -1; run < RUNS; run += 1) {
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
    const knocking = await firstByteMs([KNOCK, 'proxy', 'server4', String(PORT)]);
    const open = await firstByteMs([KNOCK, 'proxy', 'server4', String(PORT)]);
    const plain = await firstByteMs(['-e', direct]);
    if (run < 0) continue;
    times.knocking.push(knocking);
    times['open already'].push(open);
    times.direct.push(plain);
  }
  const base = quantile(times.direct, 0.5);
  const rows = Object.entries(times).map(([name, all]) => {
    const [median, p90] = [quantile(all, 0.5), quantile(all, 0.9)];
    return `| ${name} | ${median.toFixed(1)} ms | ${p90.toFixed(1)} ms | ${(median - base).toFixed(1)} ms |`;
  });
  const head = await machineLines(`npm run bench -- first-byte ${RUNS}`);
  process.stdout.write(
    `${[...head, '', '| process start to first byte | median | p90 | more than direct |', '|---|---|---|---|', ...rows].join('\n')}\n`,
  );
} finally {
  await stage.close();
}

/** From the start of the process until its first byte of output. */
async function firstByteMs(args: readonly string[]): Promise<number> {
  const [command = '', ...rest] = stage.client.inside([process.execPath, ...args]);
  const startedMs = performance.now();
  const child = spawn(command, rest, { env: { ...process.env, HOME: stage.alice.home }, stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const ms = await new Promise<number>((resolve, reject) => {
    child.stdout.once('data', () => resolve(performance.now() - startedMs));
    void exited.then(() => reject(new Error(`${args.join(' ')}: ended without a byte\n${said}`)));
  });
  child.kill('SIGKILL');
  await exited;
  return ms;
}

function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? Number.NaN;
}
