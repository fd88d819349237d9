// What 10,000 clients and 100,000 live grants cost the daemon: npm run bench -- size. Measures the daemon that is shipped, in a
// namespace of its own; asserts nothing. Prints a table in Markdown with machine, versions and command.
import { fileURLToPath } from 'node:url';
import { askDaemon } from '../../daemon/control/ask.ts';
import { WatchReport } from '../../daemon/control/messages.ts';
import { parsePublicLine } from '../../protocol/openssh.ts';
import { Installation } from '../lab/installation.ts';
import { createLab } from '../lab/lab.ts';
import type { Running } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';
import { type Asked, asking } from './asking.ts';
import { FIRST_PORT, SERVICES_BY_DEFAULT, TIMED_PORT, writeCrowd } from './crowd.ts';
import type { SenderCalls } from './crowd-sender.ts';
import { runPart } from './part.ts';
import type { StallReport } from './stall-report.ts';
import { unitEnvironment } from './unit.ts';

const IS_QUICK = process.argv.includes('--quick');
const [PEOPLE_WORD, HOW_WORD] = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const PEOPLE = Number(PEOPLE_WORD ?? (IS_QUICK ? 500 : 10_000));
/** `jit`: with V8's compiler, as a drop-in for the unit gives it back. */
const IS_COMPILED = HOW_WORD === 'jit';
const FILES = 100;
const KNOCK_PORT = 62_201;
const DEADLINE_MS = 900_000;
/** The first crowd's grants end all at once, soon; the second's outlive the measurement. */
const SOON_SECONDS = 30;
const LATE_SECONDS = 1800;
const ROUNDS = 12;

const PROBE = fileURLToPath(new URL('./stall-probe.js', import.meta.url));
const SENDER = fileURLToPath(new URL('./crowd-sender.js', import.meta.url));

type Row = { readonly what: string; readonly value: string; readonly report?: StallReport | undefined };
const rows: Row[] = [];

function row(what: string, value: string, report?: StallReport): void {
  rows.push({ what, value, report });
  const stalls =
    report === undefined
      ? ''
      : ` stalls ${report.stallsMs
          .slice(0, 4)
          .map((ms) => ms.toFixed(0))
          .join(
            ' ',
          )} ms (worked ${report.workedMs.toFixed(0)}, collector ${report.longestCollectionMs.toFixed(0)}), ${report.rssMiB.toFixed(0)} MiB (heap ${report.heapMiB.toFixed(0)}, buffers ${report.buffersMiB.toFixed(0)})`;
  process.stderr.write(`${what}: ${value}${stalls}\n`);
}

const seconds = (ms: number): string => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);

function middle(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const lab = await createLab({ label: 'size', deadlineMs: DEADLINE_MS });
let postern: Installation | undefined;
try {
  const [server, client] = [await lab.host('server'), await lab.host('client')];
  await lab.link(server, client);
  // Every address of the crowd is the client's own.
  await client.exec(['ip', 'route', 'add', 'local', '10.64.0.0/10', 'dev', 'lo']);
  await server.exec(['ip', 'route', 'add', '10.64.0.0/10', 'via', client.ipv4()]);
  await server.listen({ tcp: [TIMED_PORT] });
  const config = {
    protect: [`tcp/${TIMED_PORT}`, `tcp/${FIRST_PORT}-${FIRST_PORT + SERVICES_BY_DEFAULT - 1}`],
    port: KNOCK_PORT,
    refuse: 'reject',
    max_grants: 100,
  };
  const here = await Installation.create(server, config, { name: 'nobody', clients: [], allow: [] });
  postern = here;
  const rules = `${here.folder}/rules.d`;
  const serverKey = parsePublicLine(here.publicLine);
  if (!serverKey.ok) throw new Error(serverKey.why);
  const sender = asking<SenderCalls>(client.start([process.execPath, SENDER], { ipc: true }));
  const knockers = { serverKey: Buffer.from(serverKey.value.publicKey).toString('base64'), server: server.ipv4(), knockPort: KNOCK_PORT };
  let fresh = 500_000;

  /** Starts the daemon; the first row tells how long that took. */
  const start = async (what: string): Promise<Asked<StallReport>> => {
    const from = performance.now();
    const env = IS_COMPILED ? {} : unitEnvironment();
    const daemon: Running = await here.start({ node: ['--import', PROBE], ipc: true, env, deadlineMs: 120_000 });
    const tookMs = performance.now() - from;
    const probe = asking<{ report: { ask: null; answer: StallReport } }>(daemon);
    const report = await probe('report', null);
    row(`start with ${what}`, `${seconds(tookMs)} to ready`, report);
    return () => probe('report', null);
  };
  const timed = async (person: number): Promise<number> => {
    fresh += ROUNDS;
    return middle(await sender('time', { person, rounds: ROUNDS, firstAddress: fresh }));
  };
  const knockTimes = async (what: string, persons: readonly number[], report: Asked<StallReport>): Promise<void> => {
    await report();
    const times: string[] = [];
    for (const person of persons) times.push(`${(await timed(person)).toFixed(2)} ms (client ${person + 1})`);
    row(`knock to open port, median of ${ROUNDS}, ${what}`, times.join(', '), await report());
  };
  const phase = async (what: string, report: Asked<StallReport>, work: () => Promise<unknown>): Promise<void> => {
    await report();
    const from = performance.now();
    const note = await work();
    const tookMs = performance.now() - from;
    row(what, `${seconds(tookMs)}${typeof note === 'string' ? `, ${note}` : ''}`, await report());
  };
  // No list of grants: what that costs has a row of its own.
  const look = () => askDaemon(`${here.folder}/run/control.sock`, { command: 'watch', grants: 0 }, WatchReport);
  const control = async (args: readonly string[]) => void (await here.posternd(args, { timeoutMs: 120_000 }));

  writeCrowd(rules, 1, 1);
  await sender('prepare', { ...knockers, people: 1 });
  let report = await start('1 client');
  await knockTimes('1 client', [0], report);
  await here.stop();

  writeCrowd(rules, PEOPLE, 1);
  report = await start(`${PEOPLE} clients in 1 file`);
  await phase('reload, nothing changed, 1 file', report, () => control(['reload']));
  await here.stop();

  writeCrowd(rules, PEOPLE, FILES);
  report = await start(`${PEOPLE} clients in ${FILES} files`);
  await sender('prepare', { ...knockers, people: PEOPLE });
  await phase(`reload, nothing changed, ${FILES} files`, report, () => control(['reload']));
  writeCrowd(rules, PEOPLE - 1, FILES);
  await phase('reload, one client less', report, () => control(['reload']));
  writeCrowd(rules, PEOPLE, FILES, { from: PEOPLE });
  await phase('reload, every client replaced', report, () => control(['reload']));
  writeCrowd(rules, PEOPLE, FILES);
  await phase('reload, every client back', report, () => control(['reload']));
  await phase('the change of a minute (tags of one window armed)', report, async () => {
    // Two seconds into the next minute and five more: the tags are armed at its start.
    const left = 60_000 - (Date.now() % 60_000);
    await new Promise((resolve) => setTimeout(resolve, left + 7_000));
    return `${16 * PEOPLE} tags; the time is the wait`;
  });
  await knockTimes(`${PEOPLE} clients`, [0, PEOPLE - 1], report);

  const crowd = async (what: string, endAtMs: number): Promise<void> => {
    const granted = (await look()).knocks.granted;
    await phase(`${PEOPLE} knocks for ${SERVICES_BY_DEFAULT} grants each${what}`, report, async () => {
      await sender('everybody', { first: 0, count: PEOPLE, perSecond: 1000, endAtMs });
      const all = async () => {
        const { grants_total: live, knocks } = await look();
        return knocks.granted - granted === PEOPLE ? live : undefined;
      };
      const live = await waitFor(all, { deadlineMs: 60_000, intervalMs: 1000 }).catch(async () => (await look()).grants_total);
      return `${live} live grants`;
    });
  };
  const endAtMs = Date.now() + SOON_SECONDS * 1000;
  await crowd(', all to end at once', endAtMs);
  await new Promise((resolve) => setTimeout(resolve, endAtMs - Date.now() - 2_000));
  await phase('all of them end within a second', report, async () => {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, endAtMs - Date.now()) + 3_000));
    await waitFor(async () => (await look()).grants_total === 0, { deadlineMs: 60_000, intervalMs: 1000 });
    return 'the time is the wait';
  });
  await crowd('', Date.now() + LATE_SECONDS * 1000);
  await knockTimes(`${PEOPLE * SERVICES_BY_DEFAULT} live grants`, [1, PEOPLE - 2], report);
  await phase('posternd status', report, () => control(['status']));
  await phase('posternd grants --json', report, () => control(['grants', '--json']));
  await phase('reload, nothing changed', report, () => control(['reload']));
  await phase('gate up (the whole gate replaced)', report, () => control(['gate', 'up']));
  await phase('stop', report, async () => undefined);
  await here.stop();
  report = await start(`${PEOPLE} clients, ${PEOPLE * SERVICES_BY_DEFAULT} live grants`);
  await knockTimes('after that', [2, PEOPLE - 3], report);
  await here.stop();
} finally {
  await postern?.close();
  await lab.close();
}

await runPart(async () => ({
  // Only the usual run stands in the documents.
  key: PEOPLE === 10_000 && !IS_COMPILED ? 'size' : `size-${PEOPLE}${IS_COMPILED ? '-jit' : ''}`,
  title: 'Ten thousand clients, a hundred thousand live grants',
  command: `npm run bench -- size${PEOPLE === 10_000 && !IS_COMPILED ? '' : ` ${PEOPLE}`}${IS_COMPILED ? ' jit' : ''}`,
  about: [
    `The daemon ran ${IS_COMPILED ? "with V8's compiler" : `as systemd/posternd.service starts it (\`${unitEnvironment()['NODE_OPTIONS']}\`)`}. A stall is time in which its event loop could do nothing else, without the time for which others had the processor; the work in it is what the daemon did itself, in processor time.`,
    'The goals: memory under 70 MB with one client and 150 MB with 10,000 after the start, a knock as fast for the last client as for the first, no stall over 50 ms.',
  ],
  tables: [
    {
      title: '',
      head: ['what', 'figure', 'longest stall of the event loop', 'longest work in one', 'memory (RSS) now / at most', 'processor'],
      rows: rows.map(({ what, value, report }) =>
        report === undefined
          ? [what, value, '', '', '', '']
          : [
              ...[what, value, `${(report.stallsMs[0] ?? 0).toFixed(0)} ms`, `${report.workedMs.toFixed(0)} ms`],
              ...[`${report.rssMiB.toFixed(0)} / ${report.peakMiB.toFixed(0)} MiB`, seconds(report.cpuMs)],
            ],
      ),
    },
  ],
  charts: [],
  headlines: [],
  leftOut: [],
  raw: rows,
}));
