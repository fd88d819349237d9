// Why a frame left the server: what closed and unprotected ports owe to whoever asks, how neighbors find each other, and the connections of who was
// let in. What nobody owes is not silence. Pure.
import type { Frame } from '../lab/capture.ts';

export type Known = {
  /** Ports that strangers shall learn nothing of, `tcp/8022`; the knock port is one of them. */
  readonly hidden: readonly string[];
  /** Addresses that were granted something: what the hidden ports say to them is theirs. */
  readonly granted: readonly string[];
};

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;
const NAMES: Readonly<Record<number, string>> = { [TCP]: 'tcp', [UDP]: 'udp' };

/** What the frame is owed to; undefined, and nothing on this host had a reason to send it. */
export function owedTo(frame: Frame, known: Known): string | undefined {
  if (frame.etherType === 0x0806) return 'neighbors';
  const packet = readIp(frame.ip);
  if (packet === undefined) return undefined;
  const { protocol, body } = packet;
  if (protocol === TCP || protocol === UDP) {
    const port = `${NAMES[protocol]}/${body.readUInt16BE(0)}`;
    if (!known.hidden.includes(port)) return 'other ports';
    return known.granted.includes(packet.destination) ? 'who was let in' : undefined;
  }
  if (protocol === ICMP && body[0] === 3 && body[1] === 3) return aboutHidden(body.subarray(8), known) ? undefined : 'closed ports';
  if (protocol === ICMP6) {
    const type = body[0] ?? 0;
    if ((type >= 130 && type <= 137) || type === 143) return 'neighbors';
    if (type === 1 && body[1] === 4) return aboutHidden(body.subarray(8), known) ? undefined : 'closed ports';
  }
  return undefined;
}

/** Whether the packet that an ICMP error quotes went to a hidden port. */
function aboutHidden(quoted: Buffer, { hidden }: Known): boolean {
  const packet = readIp(quoted);
  return packet === undefined || hidden.includes(`${NAMES[packet.protocol]}/${packet.body.readUInt16BE(2)}`);
}

type Ip = { readonly protocol: number; readonly destination: string; readonly body: Buffer };

/** Past the options of IPv4 and the hop-by-hop header of IPv6. */
function readIp(bytes: Uint8Array): Ip | undefined {
  const ip = Buffer.from(bytes);
  if (ip.length < 24) return undefined;
  if ((ip[0] ?? 0) >> 4 === 4) {
    return { protocol: ip[9] ?? 0, destination: ip.subarray(16, 20).join('.'), body: ip.subarray(((ip[0] ?? 0) & 15) * 4) };
  }
  const hasHop = ip[6] === 0;
  const at = hasHop ? 40 + ((ip[41] ?? 0) + 1) * 8 : 40;
  return { protocol: (hasHop ? ip[40] : ip[6]) ?? 0, destination: ip.subarray(24, 40).toString('hex'), body: ip.subarray(at) };
}

/** An address of IPv6 as `granted` holds it. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
