// Hears of every change to nf_tables and says when somebody else touched our table. Decides nothing about the cure.
import { decodeAttributes, decodeMessages, findAttribute, type Message, NFGENMSG_BYTES, readText } from '../../netlink/message.ts';
import { openNetlink } from '../../netlink/socket.ts';
import { MSG, NETLINK_NETFILTER, NFNLGRP_NFTABLES, SUBSYSTEM_NFTABLES } from './kernel.ts';

/** Room for the events about our own tags, which we hear too. */
const BUFFER_BYTES = 8 * 1024 * 1024;
/** Every message about something in a table names the table first. */
const NAME_OF_TABLE = 1;

/**
 * Calls `onSuspicion` for each change by another netlink port, and when events were lost; `onGone` first when a table of that name was deleted, with
 * its protocol family. Returns what ends it.
 */
export function watchTable(
  table: string,
  ourPort: number,
  onSuspicion: () => void,
  onGone: (family: number) => void = () => undefined,
): () => Promise<void> {
  const socket = openNetlink(NETLINK_NETFILTER, { groups: [NFNLGRP_NFTABLES], receiveBufferBytes: BUFFER_BYTES });
  const listen = async (): Promise<void> => {
    for (;;) {
      const received = await socket.receiveAsync();
      if (received.kind === 'closed') return;
      if (received.kind === 'timeout') continue;
      const messages = received.kind === 'overrun' || received.senderPort !== 0 ? [] : decodeMessages(received.bytes);
      const foreign = messages.filter((message) => isForeign(message, table, ourPort));
      for (const { type, payload } of foreign) if (type === MSG.delTable) onGone(payload[0] ?? 0);
      if (received.kind === 'overrun' || foreign.length > 0) onSuspicion();
    }
  };
  // Deaf is as good as suspicious; the periodic check goes on without us.
  const ended = listen().catch(onSuspicion);
  return async () => {
    await socket.close();
    await ended;
  };
}

function isForeign(message: Message, table: string, ourPort: number): boolean {
  if (message.port === ourPort || message.type >> 8 !== SUBSYSTEM_NFTABLES) return false;
  const name = findAttribute(decodeAttributes(message.payload.subarray(NFGENMSG_BYTES)), NAME_OF_TABLE);
  return name !== undefined && readText(name) === table;
}
