// How much later the first byte of a service comes through `knock proxy`, with a shut door, than through a node that connects directly:
// sudo npm run bench -- first-byte [RUNS]. Both are whole processes, started in turn in the client's namespace, so that what is left is the knock.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PORT, REQUEST, Stage } from '../lab/stage.ts';
import { asTime, median, quantile } from './figures.ts';
import { type PartOptions, runPart } from './part.ts';
import type { Section } from './section.ts';

type Times = Record<'direct' | 'knocking, the door shut' | 'the door open already', number[]>;

const KNOCK = fileURLToPath(new URL('../../client/knock.cjs', import.meta.url));

async function measure({ isQuick }: PartOptions): Promise<Section> {
  if (!existsSync(KNOCK)) throw new Error('no bundle: npm run build');
  const runs = isQuick ? 3 : Number(process.argv[2] ?? 25);
  const stage = await Stage.create({ label: 'bench', allow: [{ services: [REQUEST], ttl: '30s' }] });
  try {
    const address = stage.server.ipv4();
    const direct = `require('node:net').connect({host:${JSON.stringify(address)},port:${PORT},allowHalfOpen:true}).pipe(process.stdout)`;
    const times: Times = { direct: [], 'knocking, the door shut': [], 'the door open already': [] };
    // One of each that does not count: what the first start reads from the disk.
    for (let run = -1; run < runs; run += 1) {
      await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
      const knocking = await firstByteMs(stage, [KNOCK, 'proxy', 'server4', String(PORT)]);
      const open = await firstByteMs(stage, [KNOCK, 'proxy', 'server4', String(PORT)]);
      const plain = await firstByteMs(stage, ['-e', direct]);
      if (run < 0) continue;
      times['knocking, the door shut'].push(knocking);
      times['the door open already'].push(open);
      times.direct.push(plain);
    }
    return section(times, runs);
  } finally {
    await stage.close();
  }
}

function section(times: Times, runs: number): Section {
  const base = median(times.direct);
  const rows = Object.entries(times).map(([name, all]) => {
    return [name, asTime(median(all)), asTime(quantile(all, 0.9)), asTime(Math.max(0, median(all) - base))];
  });
  return {
    key: 'first-byte',
    title: 'First byte through `knock proxy`',
    command: `npm run bench -- first-byte${runs === 25 ? '' : ` ${runs}`}`,
    about: [
      `From the start of a whole process to the first byte of the service: a node that connects directly, and \`knock proxy\` at a shut and at an open door. In turn, ${runs} of each.`,
    ],
    tables: [{ title: '', head: ['process start to first byte', 'median', 'p90', 'more than direct'], rows }],
    charts: [],
    headlines: [],
    leftOut: [],
    raw: times,
  };
}

/** From the start of the process until its first byte of output. */
async function firstByteMs(stage: Stage, args: readonly string[]): Promise<number> {
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

await runPart(measure);
