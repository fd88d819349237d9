// What the sender of knocks can be asked. Types only.

/** One knock, ready to be sent: its datagrams in their order, from an address of the client. */
export type SentKnock = {
  readonly from: string;
  /** Payloads in base64. */
  readonly datagrams: readonly { readonly port: number; readonly payload: string }[];
};

/** A command line; nothing is in its environment but PATH and `env`. */
export type Command = { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>> };

export type SenderCalls = {
  /** From sending the knock to an accepted connection; null: not within the deadline. `looks`: connections tried. */
  time: { ask: { to: string; knock: SentKnock; deadlineMs: number }; answer: { ms: number | null; looks: number } };
  /** Sends all of them at a steady pace, each from a socket of its own. */
  blast: { ask: { to: string; knocks: readonly SentKnock[]; perSecond: number }; answer: { tookMs: number } };
  /** Runs a command to its end. */
  run: { ask: Command; answer: { ms: number } };
  /** Starts a command and tries the door of `to` from `from` until it opens; null: not within the deadline. */
  runToOpen: { ask: Command & { to: string; from: string; deadlineMs: number }; answer: { ms: number | null } };
  /** Which of these addresses are let in now. */
  open: { ask: { to: string; from: readonly string[] }; answer: readonly string[] };
};
