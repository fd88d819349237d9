// What every subcommand of posternd takes, and where it writes. Commands get their outputs as arguments and never exit themselves.
export type Output = { readonly out: (text: string) => void; readonly err: (text: string) => void };

export type CommonOptions = {
  /** Absolute path of the configuration file. */
  readonly config: string;
  readonly json: boolean;
};

export const DEFAULT_CONFIG = '/etc/postern/postern.yaml';

export const processOutput: Output = {
  out: (text) => process.stdout.write(`${text}\n`),
  err: (text) => process.stderr.write(`${text}\n`),
};
