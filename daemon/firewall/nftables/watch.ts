// Hears of every change to nf_tables and says when somebody else touched our table. Decides nothing about the cure.
import { decodeAttributes, decodeMessages, findAttribute, type Message, NFGENMSG_BYTES, readText } from '../../netlink/message.ts';
import { openNetlink } from '../../netlink/socket.ts';
import { NETLINK_NETFILTER, NFNLGRP_NFTABLES, SUBSYSTEM_NFTABLES } from './kernel.ts';

/** Room for the events about our own tags, which we hear too. */
const BUFFER_BYTES = 8 * 1024 * 1024;
/** Every message about something in a table names the table first. */
const NAME_OF_TABLE = 1;

/** Calls `onSuspicion` for each change by another netlink port, and when events were lost. Returns what ends it. */
export function watchTable(table: string, ourPort: number, onSuspicion: () => void): () => Promise<void> {
  const socket = openNetlink(NETLINK_NETFILTER, { groups: [NFNLGRP_NFTABLES], receiveBufferBytes: BUFFER_BYTES });
  const listen = async (): Promise<void> => {
    for (;;) {
      const received = await socket.receiveAsync();
      if (received.kind === 'closed') return;
      if (received.kind === 'timeout') continue;
      const suspicious =
        received.kind === 'overrun' ||
        (received.senderPort === 0 && decodeMessages(received.bytes).some((m) => isForeign(m, table, ourPort)));
      if (suspicious) onSuspicion();
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
