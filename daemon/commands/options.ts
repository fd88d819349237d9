// What every subcommand of posternd takes, and where it writes. Commands get their outputs as arguments and never exit themselves.
export type Output = { readonly out: (text: string) => void; readonly err: (text: string) => void };

export type CommonOptions = {
  /** Absolute path of the configuration file. */
  readonly config: string;
  readonly json: boolean;
};

export const DEFAULT_CONFIG = '/etc/postern/postern.yaml';

// The streams are touched only when something is written: Node makes a pipe there non-blocking for everybody who shares it.
export const processOutput: Output = {
  out: (text) => write(process.stdout, `${text}\n`),
  err: (text) => write(process.stderr, `${text}\n`),
};

function write(stream: NodeJS.WriteStream, text: string): void {
  if (!stream.listeners('error').includes(onWriteError)) stream.on('error', onWriteError);
  stream.write(text);
}

/** A reader that has seen enough (`| head -1`) is no error, and must not stop a command halfway. A disk that is full is one. */
function onWriteError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') return;
  process.exitCode = 1;
  process.stderr.write(`posternd: the output could not be written (${error.code ?? error.message})\n`);
}
