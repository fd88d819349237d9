// The classic BPF program for a raw socket: which packets wake the daemon. Pure; the kernel runs it before it queues anything for us.
// A packet of somebody else's UDP traffic ends here, at the price of a few instructions and no wake-up.
import { endianness } from 'node:os';
import { MAX_PACKET_BYTES, MIN_PACKET_BYTES } from '../../protocol/packet.ts';

/** What a raw socket lets through. */
export type RawFilter = {
  readonly family: 4 | 6;
  readonly port: number;
  /** Only what the sieve has marked as a knock (packet type "other host"): see docs/decisions/070-raw-capture.md. */
  readonly onlyMarked: boolean;
};

// Fixed by RFC 768.
const UDP_HEADER_BYTES = 8;

// Fixed by linux/bpf_common.h and linux/filter.h
const LOAD_HALF = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_HALF_INDEXED = 0x48; // BPF_LD | BPF_H | BPF_IND
const LOAD_WORD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_HEADER_LENGTH = 0xb1; // BPF_LDX | BPF_B | BPF_MSH: four times the low four bits of a byte
const JUMP_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K
/** SKF_AD_OFF + SKF_AD_PKTTYPE: not a byte of the packet but what the kernel knows of it. */
const PACKET_TYPE = -0x1000 + 4;
/** linux/if_packet.h; what `meta pkttype set other` writes, and what no other packet has that gets this far. */
const PACKET_OTHERHOST = 3;
const WHOLE_PACKET = 0xffff;
const INSTRUCTION_BYTES = 8;

const LITTLE = endianness() === 'LE';

type Instruction = { readonly code: number; readonly value: number; readonly onTrue?: Target; readonly onFalse?: Target };
type Target = 'next' | 'refuse';

/** The program as the kernel takes it: an array of struct sock_filter. */
export function encodeFilter(filter: RawFilter): Uint8Array {
  const instructions = program(filter);
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  const refuse = instructions.length - 1;
  instructions.forEach(({ code, value, onTrue = 'next', onFalse = 'next' }, at) => {
    const offset = (target: Target): number => (target === 'next' ? 0 : refuse - at - 1);
    view.setUint16(at * INSTRUCTION_BYTES, code, LITTLE);
    view.setUint8(at * INSTRUCTION_BYTES + 2, offset(onTrue));
    view.setUint8(at * INSTRUCTION_BYTES + 3, offset(onFalse));
    view.setUint32(at * INSTRUCTION_BYTES + 4, value >>> 0, LITTLE);
  });
  return bytes;
}

function program({ family, port, onlyMarked }: RawFilter): readonly Instruction[] {
  const marked: readonly Instruction[] = [
    { code: LOAD_WORD, value: PACKET_TYPE },
    { code: JUMP_EQUAL, value: PACKET_OTHERHOST, onFalse: 'refuse' },
  ];
  return [
    ...(onlyMarked ? marked : []),
    // IPv4 raw sockets see a packet from its network header on, IPv6 ones from its UDP header on.
    ...(family === 4 ? [{ code: LOAD_HEADER_LENGTH, value: 0 }] : []),
    udpField(family, 2),
    { code: JUMP_EQUAL, value: port, onFalse: 'refuse' },
    udpField(family, 4),
    { code: JUMP_AT_LEAST, value: MIN_PACKET_BYTES + UDP_HEADER_BYTES, onFalse: 'refuse' },
    { code: JUMP_GREATER, value: MAX_PACKET_BYTES + UDP_HEADER_BYTES, onTrue: 'refuse' },
    { code: RETURN, value: WHOLE_PACKET },
    { code: RETURN, value: 0 },
  ];
}

function udpField(family: 4 | 6, offset: number): Instruction {
  return { code: family === 4 ? LOAD_HALF_INDEXED : LOAD_HALF, value: offset };
}
