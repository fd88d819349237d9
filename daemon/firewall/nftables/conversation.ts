// Requests to nf_tables over one socket, and which answer belongs to which request. Knows nothing of gates.
import {
  decodeMessages,
  decodeVerdict,
  encodeMessage,
  encodeMessages,
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
  nfgenmsg,
} from '../../netlink/message.ts';
import { KernelError, type NetlinkSocket, openNetlink } from '../../netlink/socket.ts';
import { NETLINK_NETFILTER, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, SUBSYSTEM_NFTABLES } from './kernel.ts';
import type { Request } from './requests.ts';

const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
// Tunable
/** A whole gate with all its openings goes out in one piece. */
const SEND_BUFFER_BYTES = 64 * 1024 * 1024;
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** A listing that changed while it was read is read again, this often. */
const DUMP_ATTEMPTS = 10;

/** nf_tables refused a request; nothing of its transaction holds. `at` counts the requests of the batch. */
export class RefusedError extends KernelError {
  readonly at: number;
  readonly sentence: string;
  constructor(errno: number, at: number, sentence: string) {
    super(errno, 'nf_tables', sentence);
    this.name = 'RefusedError';
    this.at = at;
    this.sentence = sentence;
  }
}

/** The kernel did something, but its answer is lost (overrun): whether the transaction holds is not known. */
export class AnswerLostError extends Error {
  constructor() {
    super('the answer of the kernel was lost');
    this.name = 'AnswerLostError';
  }
}

export type Conversation = {
  readonly portId: number;
  /** All of the requests or none. The kernel has done it when this returns. */
  readonly transact: (requests: readonly Request[]) => void;
  /** The same on a pool thread: for batches that take milliseconds. */
  readonly transactAsync: (requests: readonly Request[]) => Promise<void>;
  /** One request and its one answer; undefined when there is no such thing. */
  readonly ask: (request: Request) => Message | undefined;
  /** Every message of a listing. */
  readonly dump: (request: Request) => readonly Message[];
  readonly close: () => Promise<void>;
};

/** A batch whose answers are still to come: sequence numbers `first` (begin) to `last` (end). */
type Pending = { readonly first: number; readonly last: number; done: boolean; refusal: RefusedError | undefined };

export function converse(): Conversation {
  const socket = openNetlink(NETLINK_NETFILTER, { receiveBufferBytes: RECEIVE_BUFFER_BYTES });
  // Without the capability nothing below works anyway, and each call says so.
  ignoreRefusal(() => socket.setOption(SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES));
  let sequence = 1;
  const pending = new Set<Pending>();

  const begin = (requests: readonly Request[]): { readonly bytes: Uint8Array; readonly batch: Pending } => {
    const first = sequence;
    const last = first + requests.length + 1;
    sequence = last + 1 > 0x7fffffff ? 1 : last + 1;
    const edge = (type: number, number: number) => ({
      type,
      flags: NLM_F_REQUEST,
      sequence: number,
      payload: nfgenmsg(0, SUBSYSTEM_NFTABLES),
    });
    const messages = requests.map(({ type, flags, payload }, at) => ({
      type,
      // Refusals come by themselves; one acknowledgment, for the last request, is enough.
      flags: NLM_F_REQUEST | flags | (at === requests.length - 1 ? NLM_F_ACK : 0),
      sequence: first + 1 + at,
      payload,
    }));
    const batch: Pending = { first, last, done: false, refusal: undefined };
    return { bytes: encodeMessages([edge(NFNL_MSG_BATCH_BEGIN, first), ...messages, edge(NFNL_MSG_BATCH_END, last)]), batch };
  };

  /** Reads all answers that are queued. Those of other batches (one may run on a thread) are kept with them. */
  const collect = (batch: Pending): void => {
    for (;;) {
      let bytes: Uint8Array | undefined;
      try {
        bytes = socket.receive();
      } catch (error) {
        // Which answers are missing is unknown, so none of those that wait can be trusted to come.
        if (error instanceof KernelError && error.code === 'ENOBUFS') continue;
        throw error;
      }
      if (bytes === undefined) break;
      for (const message of decodeMessages(bytes)) settle(pending, message);
    }
    pending.delete(batch);
    if (batch.refusal !== undefined) throw batch.refusal;
    if (!batch.done) throw new AnswerLostError();
  };

  return {
    portId: socket.portId,
    transact: (requests) => {
      if (requests.length === 0) return;
      const { bytes, batch } = begin(requests);
      pending.add(batch);
      try {
        // nfnetlink works a batch off inside of the send call: its answers are queued when that returns.
        socket.send(bytes);
      } catch (error) {
        pending.delete(batch);
        throw error;
      }
      collect(batch);
    },
    transactAsync: async (requests) => {
      if (requests.length === 0) return;
      const { bytes, batch } = begin(requests);
      pending.add(batch);
      try {
        await socket.sendAsync(bytes);
      } catch (error) {
        pending.delete(batch);
        throw error;
      }
      collect(batch);
    },
    ask: (request) => {
      const number = sequence;
      sequence += 1;
      socket.send(encodeMessage({ ...request, flags: NLM_F_REQUEST | request.flags, sequence: number }));
      return readAnswers(socket, pending, number, false)[0];
    },
    dump: (request) => {
      for (let attempt = 1; ; attempt += 1) {
        const number = sequence;
        sequence += 1;
        socket.send(encodeMessage({ ...request, flags: NLM_F_REQUEST | request.flags, sequence: number }));
        const messages = readAnswers(socket, pending, number, true);
        if (attempt === DUMP_ATTEMPTS || !messages.some(({ flags }) => (flags & NLM_F_DUMP_INTR) !== 0)) return messages;
      }
    },
    close: socket.close,
  };
}

function settle(pending: ReadonlySet<Pending>, message: Message): void {
  if (message.type !== NLMSG_ERROR) return;
  for (const batch of pending) {
    if (message.sequence < batch.first || message.sequence > batch.last) continue;
    const { errno, sentence } = decodeVerdict(message);
    if (errno === 0) batch.done = true;
    // The first refusal is the cause; those after it often follow from it.
    else batch.refusal ??= new RefusedError(errno, message.sequence - batch.first - 1, sentence);
  }
}

/** The messages that answer `number`. ENOENT is an answer: there is nothing. */
function readAnswers(socket: NetlinkSocket, pending: ReadonlySet<Pending>, number: number, listing: boolean): readonly Message[] {
  const ENOENT = 2;
  const answers: Message[] = [];
  for (;;) {
    const bytes = socket.receive();
    if (bytes === undefined) {
      if (listing || answers.length === 0) throw new AnswerLostError();
      return answers;
    }
    for (const message of decodeMessages(bytes)) {
      if (message.sequence !== number) settle(pending, message);
      else if (message.type === NLMSG_DONE) return answers;
      else if (message.type === NLMSG_OVERRUN) throw new AnswerLostError();
      else if (message.type === NLMSG_ERROR) {
        const { errno, sentence } = decodeVerdict(message);
        if (errno === ENOENT) return [];
        if (errno !== 0) throw new RefusedError(errno, 0, sentence);
      } else answers.push(message);
    }
    if (!listing && answers.length > 0) return answers;
  }
}

function ignoreRefusal(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
}
