// The options of the commands that knock, in one table: the quick reader, the full parser and the help come from it.

/** `open` is `knock HOST` itself. */
export type Verb = 'open' | 'close' | 'proxy' | 'hold' | 'doctor';

export type KnockFlag = {
  /** As commander writes them: `-p, --port <N>`. */
  readonly flags: string;
  readonly about: string;
  /** Where it would mean nothing: a close has no lifetime, a proxy needs its standard output, a doctor always looks. */
  readonly notFor?: readonly Verb[];
};

export const KNOCK_FLAGS: readonly KnockFlag[] = [
  { flags: '-i, --identity <FILE>', about: 'private key to knock with' },
  { flags: '--server-key <LINE|FILE>', about: 'public key of the server' },
  { flags: '-p, --port <N>', about: 'UDP port to knock at (62201)' },
  { flags: '-t, --ttl <TIME>', about: "how long it shall stay open, as 30s, 10m, 2h (the rule's default)", notFor: ['close', 'doctor'] },
  { flags: '--once', about: 'open for one connection only', notFor: ['close', 'hold', 'doctor'] },
  { flags: '--source <WHICH>', about: 'address to bind the knock to: auto, none, bound, stun:SERVER or an ADDRESS (auto)' },
  {
    flags: '--on-behalf <ADDRESS>',
    about: 'for this address instead of this machine (the rule must say on_behalf; not checked)',
    notFor: ['proxy', 'hold', 'doctor'],
  },
  { flags: '--source-port <N>', about: 'open for connections from this port only', notFor: ['close', 'hold'] },
  { flags: '--via <INTERFACE|ADDRESS>', about: "send and check from this interface's address, or from this address" },
  { flags: '-4, --ipv4', about: 'IPv4 addresses of HOST only' },
  { flags: '-6, --ipv6', about: 'IPv6 addresses of HOST only' },
  { flags: '--time <WHICH>', about: 'clock to sign by: system, https://HOST or sntp:SERVER (system)' },
  { flags: '--retries <N>', about: 'knock again up to N times (3)' },
  { flags: '--timeout <TIME>', about: 'give up after this time (5s)' },
  { flags: '--no-verify', about: 'do not check the port', notFor: ['proxy', 'doctor'] },
  { flags: '--dry-run', about: 'send nothing, print what would be sent', notFor: ['proxy', 'hold', 'doctor'] },
  { flags: '-q, --quiet', about: 'print errors only', notFor: ['doctor'] },
  { flags: '-v, --verbose', about: 'print each step', notFor: ['doctor'] },
  { flags: '--json', about: 'print one JSON object', notFor: ['proxy'] },
  { flags: '--config <FILE>', about: 'configuration (~/.config/knock/config.yaml)' },
];

export function flagsFor(verb: Verb): readonly KnockFlag[] {
  return KNOCK_FLAGS.filter(({ notFor }) => notFor?.includes(verb) !== true);
}

/** Words that a command line cannot begin with and mean a host. */
export const COMMANDS: readonly string[] = ['close', 'proxy', 'hold', 'doctor', 'add', 'profiles', 'keygen', 'completion'];
/** What the completion scripts begin their question with; it is in no help. */
export const COMPLETE_WORD = '__complete';
