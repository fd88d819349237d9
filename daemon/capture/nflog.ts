// Packets from the kernel's log (NFLOG): takes a group, receives what our rule logs, hands on whole UDP datagrams. Nothing listens.
// Decides nothing about their content, and never answers.
import { constants } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { decodeMessages, decodeVerdict, MalformedMessageError, type Message, NLMSG_ERROR } from '../netlink/message.ts';
import { KernelError, NativeMissingError, type NetlinkSocket, openNetlink, SOL_NETLINK } from '../netlink/socket.ts';
import { pacing } from '../pacing.ts';
import { type Capture, type CaptureCounters, CaptureError, type OnDatagram } from './capture.ts';
import { parseDatagram } from './datagram.ts';
import { bindMessage, HIGHEST_GROUP, type Origin, probeMessage, readLogMessage, unbindMessage } from './nflog-message.ts';
import { rarely } from './rarely.ts';

// Fixed by the kernel.
const NETLINK_NETFILTER = 12;
const NETLINK_NO_ENOBUFS = 5;
const { EPERM, EINVAL } = constants.errno;

// Tunable
/** With the default buffer 166 of 3,000 unread knocks survive; so 10,000 do. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
const GROUPS_TO_TRY = 16;
const RETRY_MS = 100;

export type NflogOptions = {
  /** The group to try first; the next ones follow when it is taken. */
  readonly group: number;
  /** The text of the rule's `log prefix`. */
  readonly prefix: string;
  readonly onDatagram: OnDatagram;
  /** One line for the log. Repeated troubles are told the 1st, 2nd, 4th, 8th … time. */
  readonly onTrouble: (text: string) => void;
};

/** Binds a group and starts. From here on packets are received; arm tags after this. Throws CaptureError. */
export async function startNflog(options: NflogOptions): Promise<{ readonly capture: Capture; readonly group: number }> {
  const socket = openChecked();
  try {
    const group = bindFirstFree(socket, options.group);
    return { capture: receiveFrom(socket, { group, prefix: options.prefix }, options), group };
  } catch (error) {
    await socket.close();
    throw error instanceof KernelError ? new CaptureError('unavailable', `the kernel's packet log failed: ${error.message}`, error) : error;
  }
}

/** Whether `startNflog` would be permitted and supported here; changes nothing. For `check`. */
export async function probeNflog(): Promise<CaptureError | undefined> {
  try {
    await openChecked().close();
    return undefined;
  } catch (error) {
    if (error instanceof CaptureError) return error;
    throw error;
  }
}

function openChecked(): NetlinkSocket {
  let socket: NetlinkSocket;
  try {
    socket = openNetlink(NETLINK_NETFILTER, { receiveBufferBytes: RECEIVE_BUFFER_BYTES });
  } catch (error) {
    if (error instanceof NativeMissingError) throw new CaptureError('unsupported', `${error.message}: ${error.cure}`, error);
    if (!(error instanceof KernelError)) throw error;
    throw new CaptureError('unsupported', `no netlink socket for the packet log (${error.message}): use capture: udp`, error);
  }
  const errno = ask(socket, probeMessage(1), 1);
  if (errno !== EPERM && errno !== EINVAL) return socket;
  void socket.close();
  throw errno === EPERM
    ? new CaptureError('not-permitted', 'the packet log (NFLOG) needs CAP_NET_ADMIN: run posternd as root or by its systemd unit')
    : new CaptureError('unsupported', 'this kernel has no packet log (module nfnetlink_log): load it, or set capture: udp');
}

function bindFirstFree(socket: NetlinkSocket, first: number): number {
  const last = Math.min(first + GROUPS_TO_TRY - 1, HIGHEST_GROUP);
  for (let group = first; group <= last; group += 1) {
    const sequence = group - first + 2;
    const errno = ask(socket, bindMessage(group, sequence), sequence);
    if (errno === 0) return group;
    // The capability was proven before: now EPERM means that another program has this group.
    if (errno !== EPERM) throw new KernelError(errno, 'bind', `packet log group ${group}`);
  }
  throw new CaptureError('groups-taken', `other programs hold the packet log groups ${first} to ${last}: set nflog_group to a free one`);
}

/** Sends and waits for the verdict, which the kernel has queued when `send` returns; packets that came first cannot be ours yet. */
function ask(socket: NetlinkSocket, request: Uint8Array, sequence: number): number {
  socket.send(request);
  for (let bytes = socket.receive(); bytes !== undefined; bytes = socket.receive()) {
    for (const message of decodeMessages(bytes)) {
      if (message.type === NLMSG_ERROR && message.sequence === sequence) return decodeVerdict(message).errno;
    }
  }
  throw new KernelError(constants.errno.ENOMSG, 'recvfrom', 'the kernel did not answer');
}

function receiveFrom(socket: NetlinkSocket, origin: Origin, options: NflogOptions): Capture {
  const counters = { seen: 0, lost: 0, foreign: 0, malformed: 0 };
  const report = rarely(options.onTrouble);
  let expected = 0;
  let overrun = false;
  let isRoomMade = false;
  let stopping: Promise<void> | undefined;

  /** The kernel numbers what it logs to a group, from 0 at each bind: a gap is what we did not get. */
  const follow = (sequence: number | undefined): void => {
    if (sequence === undefined) return;
    const gap = (sequence - expected) >>> 0;
    // A number that went back would be no loss of four billion.
    if (gap < 0x80000000) {
      counters.lost += gap;
      expected = (sequence + 1) >>> 0;
    }
    overrun = false;
  };

  const take = (message: Message): void => {
    const record = readLogMessage(message, origin);
    if (record === undefined) return;
    follow(record.sequence);
    if (record.kind === 'foreign') {
      counters.foreign += 1;
      return;
    }
    const parsed = parseDatagram(record.packet);
    if (!parsed.ok) {
      counters.malformed += 1;
      return;
    }
    counters.seen += 1;
    try {
      options.onDatagram(parsed.datagram);
    } catch (error) {
      report('a datagram could not be handled', error);
    }
  };

  const takeAll = (bytes: Uint8Array): void => {
    try {
      for (const message of decodeMessages(bytes)) take(message);
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      counters.malformed += 1;
    }
  };

  const onOverrun = (): void => {
    overrun = true;
    report('the kernel had to drop logged packets: knocks came faster than they could be read');
    makeRoom(true);
  };

  /**
   * A queue that was full takes nothing more until it is empty, which under a flood is never, unless we say that we do not want to hear of overruns.
   * Once it is empty we do again.
   */
  const makeRoom = (isWanted: boolean): void => {
    if (isRoomMade !== isWanted) socket.setOption(SOL_NETLINK, NETLINK_NO_ENOBUFS, isWanted ? 1 : 0);
    isRoomMade = isWanted;
  };

  /**
   * One wait on a pool thread wakes us, then all that is queued is read without one: a thread switch for each burst, not each packet. In slices
   * of time: without V8's compiler thirty knocks for ten ports each take 60 ms.
   */
  const drain = async (): Promise<void> => {
    const pace = pacing();
    for (let bytes = socket.receive(); bytes !== undefined; bytes = socket.receive()) {
      takeAll(bytes);
      await pace();
    }
    makeRoom(false);
  };

  /** Goes on until `stop` has given the group back and nothing is queued any more. */
  const loop = async (): Promise<void> => {
    for (;;) {
      try {
        const received = await socket.receiveAsync();
        if (received.kind === 'closed') return;
        if (received.kind === 'timeout' && stopping !== undefined) return;
        if (received.kind === 'overrun') onOverrun();
        if (received.kind !== 'message') continue;
        if (received.senderPort === 0) takeAll(received.bytes);
        else counters.foreign += 1;
        await drain();
      } catch (error) {
        if (error instanceof KernelError && error.code === 'ENOBUFS') {
          onOverrun();
          continue;
        }
        report('the packet log could not be read', error);
        await pause(RETRY_MS);
      }
    }
  };

  const running = loop();
  const stop = async (): Promise<void> => {
    try {
      socket.send(unbindMessage(origin.group, 0));
    } catch (error) {
      report('the packet log group could not be given back', error);
    }
    await running;
    await socket.close();
  };

  return {
    name: 'nflog',
    // An overrun is at least one loss; the next message's number tells how many, and takes its place.
    counters: (): CaptureCounters => ({ ...counters, lost: counters.lost + (overrun ? 1 : 0) }),
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}
