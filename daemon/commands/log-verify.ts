// `posternd log verify`: whether the audit log is whole and as it was written, and what that does and does not prove.
import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import { localTime } from '../audit/describe.ts';
import { arrangement, linesOf, listParts, sortParts } from '../audit/parts.ts';
import { ChainCheck, type KeptHead, type Verified } from '../audit/verify.ts';
import { CommandError } from '../command-error.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon } from '../control/ask.ts';
import { StatusReport } from '../control/messages.ts';
import { quoted } from '../problem.ts';
import { safeText } from '../safe-text.ts';
import { auditFileOf, readable } from './log.ts';
import type { CommonOptions, Output } from './options.ts';

export type LogVerifyOptions = CommonOptions & {
  readonly files: readonly string[];
  readonly heads: readonly string[];
  /** A file with heads, `-` for standard input. */
  readonly headsFile: string | undefined;
};

/** Tunable: how often a log whose files are renamed all the time is read again. */
const TRIES = 5;

/** Throws a CommandError with exit code 1 when something is broken, after everything was told. */
export async function logVerifyCommand(options: LogVerifyOptions, output: Output): Promise<void> {
  const kept = [...options.heads.map(headOf), ...(options.headsFile === undefined ? [] : await headsIn(options.headsFile))];
  const named = options.files.length > 0;
  const file = named ? (options.files[0] ?? '') : await auditFileOf(options.config);
  // Asked before the files are read: what it has written by then has to be in them.
  const daemons = named ? undefined : await headOfDaemon(options.config, file);
  const heads = daemons === undefined ? kept : [...kept, daemons];
  const { verified, files } = await readable(file, () => (named ? check(options.files, heads) : checkAll(file, heads)), named);
  if (files.length === 0 && !named)
    throw new CommandError(1, `there is no audit log at ${safeText(file, 400)}: it begins with the first start of posternd`);
  const vouched = { heads: kept.length, daemon: daemons !== undefined };
  const broken = verified.findings.filter(({ severity }) => severity === 'broken').length;
  if (options.json) output.out(JSON.stringify(jsonReport(verified, files, vouched, broken === 0)));
  else {
    for (const { severity, at, message } of verified.findings)
      (severity === 'broken' ? output.err : output.out)(`${at}${at === '' ? '' : ': '}${severity === 'note' ? 'note: ' : ''}${message}`);
    for (const line of summary(verified, files.length, vouched)) output.out(line);
    if (broken === 0 && verified.lines > 0) output.out('no line was changed, removed, moved or put in');
  }
  if (broken > 0) throw new CommandError(1, `the audit log is NOT as it was written: ${broken} ${broken === 1 ? 'finding' : 'findings'}`);
  if (verified.lines === 0) throw new CommandError(1, 'there is no line of an audit log in there');
}

type Checked = { readonly verified: Verified; readonly files: readonly string[] };

/** Everything that belongs to a log. A file that is renamed meanwhile would look like missing lines: then all is read again. */
async function checkAll(file: string, heads: readonly KeptHead[]): Promise<Checked> {
  for (let tries = 1; ; tries += 1) {
    const before = await arrangement(file);
    try {
      const checked = await check(
        (await listParts(file)).map(({ path }) => path),
        heads,
      );
      if (tries === TRIES || before === (await arrangement(file))) return checked;
    } catch (error) {
      if (tries === TRIES || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

async function check(files: readonly string[], heads: readonly KeptHead[]): Promise<Checked> {
  const chain = new ChainCheck(heads);
  const parts = await sortParts(files);
  for (const { path } of parts) for await (const line of linesOf(path)) chain.next(safeText(path, 400), line);
  return { verified: chain.end(), files: parts.map(({ path }) => path) };
}

type Vouched = { readonly heads: number; readonly daemon: boolean };

function summary({ lines, signatures, first, last, head, clients, servers }: Verified, files: number, vouched: Vouched): readonly string[] {
  if (lines === 0 || head === undefined) return [];
  const span = `lines ${first?.n ?? '?'} to ${last?.n ?? '?'}, ${when(first?.time)} to ${when(last?.time)}`;
  const told = [
    `${lines} lines in ${files} ${files === 1 ? 'file' : 'files'} (${span})`,
    signatures === 0
      ? 'no signed knock is in there'
      : `${signatures === 1 ? '1 signature of a knock holds' : `${signatures} signatures of knocks hold`}, for server ${[...servers].join(', ')}`,
  ];
  for (const [fingerprint, names] of clients) told.push(`  by ${fingerprint} (${safeText([...names].join(', '))})`);
  told.push(`head: ${head.hash}`);
  if (vouched.heads > 0 || vouched.daemon) {
    const by = [
      vouched.heads > 0 ? `${vouched.heads} given ${vouched.heads === 1 ? 'head' : 'heads'}` : '',
      vouched.daemon ? 'the running daemon' : '',
    ];
    told.push(`compared with ${by.filter((each) => each !== '').join(' and ')}`);
  } else told.push('a cut at the end cannot be seen from here: compare with the heads in the journal (--heads)');
  return told;
}

function jsonReport(verified: Verified, files: readonly string[], vouched: Vouched, holds: boolean): object {
  const { lines, signatures, head, first, last, clients, servers, findings } = verified;
  return {
    holds,
    files,
    lines,
    first: first ?? null,
    last: last ?? null,
    head: head?.hash ?? null,
    signatures,
    clients: [...clients].map(([fingerprint, names]) => ({ fingerprint, names: [...names] })),
    servers: [...servers],
    compared_with: { heads: vouched.heads, daemon: vouched.daemon },
    findings,
  };
}

function headOf(text: string): KeptHead {
  if (!/^[0-9a-f]{64}$/.test(text))
    throw new CommandError(2, `--head: ${quoted(text)} is no head: 64 digits of 0-9 and a-f, as the journal has them`);
  return { hash: text, n: undefined };
}

/** Every "audit head" in the daemon's log, as journalctl prints it. */
async function headsIn(file: string): Promise<readonly KeptHead[]> {
  const content =
    file === '-'
      ? await textOf(process.stdin)
      : await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
          throw new CommandError(2, `--heads: cannot read ${quoted(file, 300)} (${error.code ?? error.message})`);
        });
  const heads = content.split('\n').flatMap((line): readonly KeptHead[] => {
    if (!line.includes('audit head')) return [];
    const hash = /"hash":"([0-9a-f]{64})"|hash=([0-9a-f]{64})/.exec(line);
    const n = /"n":(\d{1,15})|\bn=(\d{1,15})/.exec(line);
    const found = hash?.[1] ?? hash?.[2];
    return found === undefined ? [] : [{ hash: found, n: n === null ? undefined : Number(n[1] ?? n[2]) }];
  });
  if (heads.length === 0)
    throw new CommandError(
      2,
      `--heads: no "audit head" stands in ${quoted(file, 300)}: journalctl -u posternd -o cat | posternd log verify --heads -`,
    );
  return heads;
}

/** What the running daemon has in its memory, if there is one and it may be asked. */
async function headOfDaemon(configFile: string, file: string): Promise<KeptHead | undefined> {
  const { config } = await loadConfig(configFile);
  if (config === undefined) return undefined;
  const report = await askDaemon(config.control, { command: 'status' }, StatusReport).catch((error: unknown) => {
    if (error instanceof CommandError) return undefined;
    throw error;
  });
  const audit = report?.audit;
  return audit === undefined || audit === null || audit.head === null || audit.file !== file
    ? undefined
    : { hash: audit.head, n: audit.lines };
}

function when(time: string | undefined): string {
  const at = new Date(time ?? '');
  return Number.isNaN(at.getTime()) ? '?' : localTime(at);
}
