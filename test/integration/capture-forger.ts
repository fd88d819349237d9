// Sends one netlink message to another process, as the kernel would, but from a port of its own: what a capture must ignore.
// argv: the port to send to, the message in hexadecimal.
import { endianness } from 'node:os';
import { libc } from '../../daemon/netlink/libc.ts';

const [, , port = '', hex = ''] = process.argv;
const message = Buffer.from(hex, 'hex');
const target = new Uint8Array(12);
new DataView(target.buffer).setUint16(0, 16, endianness() === 'LE');
new DataView(target.buffer).setUint32(4, Number(port), endianness() === 'LE');
const fd = libc().socket(16, 3, 12);
const sent = libc().sendto(fd, message, message.length, 0, target, target.length);
if (sent !== message.length) throw new Error(`sendto: errno ${libc().errno()}`);
