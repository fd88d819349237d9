// The parts of the benchmark, in the order in which they run and stand in docs/benchmarks.md. A part is the program test/bench/KEY.ts, which ends with
// runPart (part.ts): its figures then stand in the documents.

export type Part = {
  /** Name on the command line, in the results folder, and of the program. */
  readonly key: string;
  readonly about: string;
  /** Whether `npm run bench` without a name runs it. */
  readonly isUsual: boolean;
  /** It is ended after so long. */
  readonly minutes: number;
  /** The words after its name are its own. */
  readonly takesWords: boolean;
};

const usual = { isUsual: true, takesWords: false } as const;

export const PARTS: readonly Part[] = [
  { ...usual, key: 'knock-time', about: 'from the packet to the open port, beside fwknopd and knockd', minutes: 6 },
  { ...usual, key: 'client-command', about: 'the whole client command, beside fwknop, knock of knockd and a bare node', minutes: 4 },
  { ...usual, key: 'clients', about: '1 to 10,000 clients: start, memory, knock, junk, beside fwknopd', minutes: 8 },
  { ...usual, key: 'memory', about: 'memory idle, after 10,000 knocks, after the windows of an hour', minutes: 6 },
  { ...usual, key: 'rate', about: 'valid knocks in a second, none lost, beside fwknopd and knockd', minutes: 10 },
  { ...usual, key: 'kill', about: 'how long a door stays open whose daemon was killed', minutes: 4 },
  {
    ...usual,
    key: 'flood',
    about: 'junk, forged packets and replays at several rates, with honest knocks in between, beside fwknopd',
    minutes: 15,
  },
  { ...usual, key: 'sieve', about: 'what a junk packet costs the kernel, with the sieve and without', minutes: 5 },
  { ...usual, key: 'first-byte', about: 'what `knock proxy` adds to the first byte of a service', minutes: 3 },
  {
    key: 'size',
    about: '[CLIENTS [jit]] ten thousand clients, a hundred thousand live grants; about five minutes',
    isUsual: true,
    minutes: 15,
    takesWords: true,
  },
];
