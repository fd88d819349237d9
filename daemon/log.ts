// The daemon's log: one JSON object a line for machines (the journal), readable lines for a terminal. Everything in it is made safe first.
// Decides nothing about what is worth a line: see decision-log.ts.
import { isatty } from 'node:tty';
import { type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import { formatLine } from './log-line.ts';
import { openLogOutput } from './log-output.ts';
import { safeFields } from './safe-fields.ts';
import { safeText } from './safe-text.ts';

export type { Logger } from 'pino';

export type LogOptions = {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error';
  /** Where lines go; standard output by default. */
  readonly stream?: LogStream;
  /** Readable lines instead of JSON; by default when the stream is a terminal. */
  readonly readable?: boolean;
  /** By default on a terminal, and never with NO_COLOR. */
  readonly color?: boolean;
};

export type LogStream = { readonly write: (text: string) => unknown; readonly isTTY?: boolean };

const STDOUT = 1;

// Tunable
/** Messages are written by us; they may quote a path or a place in a file. */
const MAX_MESSAGE_CHARS = 1_000;
/** What waits when nobody reads our standard output (a stuck journal). Beyond it lines are lost: knocks matter more. */
const MAX_WAITING_CHARS = 1024 * 1024;

// syslog(3), so that a reader of the JSON can sort by it as by the journal's PRIORITY.
const PRIORITIES = new Map([
  ['fatal', 2],
  ['error', 3],
  ['warn', 4],
  ['info', 6],
  ['debug', 7],
  ['trace', 7],
]);

/** Opens the log. Writing never blocks the daemon and never ends it. */
export function openLog(options: LogOptions): Logger {
  if (options.stream === undefined && !isatty(STDOUT)) return openMachineLog(options.level);
  // Not touched unless it is a terminal: Node would make a pipe or socket there non-blocking for everybody who shares it.
  const stream = options.stream ?? process.stdout;
  // A terminal that went away is no reason to stop opening doors.
  if (options.stream === undefined) process.stdout.on('error', () => undefined);
  const isTerminal = stream.isTTY === true;
  const color = options.color ?? (isTerminal && (process.env['NO_COLOR'] ?? '') === '');
  const isReadable = options.readable ?? isTerminal;
  const write = (json: string) => void stream.write(isReadable ? formatLine(json, color) : json);
  return withSafeChildren(pino(pinoOptions(options.level), { write }));
}

function openMachineLog(level: LogOptions['level']): Logger {
  const output = openLogOutput(STDOUT, {
    maxWaitingChars: MAX_WAITING_CHARS,
    onLost: (lines) => log.warn({ lines }, 'log lines were lost'),
  });
  const log = withSafeChildren(pino(pinoOptions(level), output));
  process.once('exit', output.flushNow);
  return log;
}

function pinoOptions(level: LogOptions['level']): LoggerOptions {
  return {
    level,
    // The journal adds host and process by itself, and truly.
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: {
      level: (label) => ({ level: label, priority: PRIORITIES.get(label) ?? 6 }),
      log: safeRecord,
    },
    // Errors are plain objects by then.
    serializers: { err: (error) => error },
    hooks: {
      logMethod(args, method) {
        method.apply(this, safeArguments(args));
      },
    },
  };
}

/** pino shows a child's bindings to no formatter. */
function withSafeChildren(log: Logger): Logger {
  const child = log.child;
  log.child = function safeChild(this: Logger, bindings: object, options?: object) {
    return child.call(this, safeRecord(bindings), options);
  } as Logger['child'];
  return log;
}

function safeRecord(fields: object): Record<string, unknown> {
  return safeFields(fields) as Record<string, unknown>;
}

type LogArguments = Parameters<Logger['info']>;

/** Fields pass (`formatters.log` sees to them), texts are made safe. An error alone is written as a field with its message. */
function safeArguments([first, ...rest]: readonly unknown[]): LogArguments {
  const isFields = typeof first === 'object' && first !== null;
  const fields = first instanceof Error ? { err: first } : first;
  const texts = isFields ? rest : [first, ...rest];
  const implied = isFields && rest.length === 0 ? errorOf(fields) : undefined;
  const safe = (implied === undefined ? texts : [implied.message]).map((text) =>
    typeof text === 'string' ? safeText(text, MAX_MESSAGE_CHARS) : safeFields(text),
  );
  return (isFields ? [fields, ...safe] : safe) as LogArguments;
}

function errorOf(fields: unknown): Error | undefined {
  const error: unknown = Object(fields).err;
  return error instanceof Error ? error : undefined;
}
