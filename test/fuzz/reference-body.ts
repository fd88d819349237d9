// A second decoder of bodies, written from SPEC 5.3 and 5.4 alone and in another manner: one table of regular shapes over hexadecimal text.
// The fuzzer holds the real one against it. Slow and plain on purpose; shares no line with protocol/body.ts.

export type ReferenceBody = {
  readonly byteLength: number;
  readonly sentAtMs: number;
  readonly close: boolean;
  readonly once: boolean;
  readonly lifetimeSeconds: number;
  /** 32 hexadecimal digits, or undefined. */
  readonly source: string | undefined;
  readonly sourcePort: number;
  /** `06 0016 0016` as text, or a name. */
  readonly requests: readonly string[];
};

//             version flags      sent at       lifetime      source         port          count
const FIXED = /^01(0[0-7])([0-9a-f]{16})([0-9a-f]{8})([0-9a-f]{32})([0-9a-f]{4})([0-9a-f]{2})/;
const PORTS = /^00(06|11)([0-9a-f]{4})([0-9a-f]{4})/;
const NAME_LETTERS = /^(?:2d|3[0-9]|6[1-9a-f]|7[0-9a])+$/;

/** What the bytes of body and padding say, or undefined when they are malformed. */
export function referenceBody(bytes: Uint8Array): ReferenceBody | undefined {
  if (bytes.length > 328) return undefined;
  let rest = Buffer.from(bytes).toString('hex');
  const fixed = FIXED.exec(rest);
  if (fixed === null) return undefined;
  const [all, flagsHex = '', sentAtHex = '', lifetimeHex = '', source = '', portHex = '', countHex = ''] = fixed;
  const flags = Number.parseInt(flagsHex, 16);
  const [bound, once, close] = [flags % 2 === 1, (flags >> 1) % 2 === 1, flags >= 4];
  const lifetimeSeconds = Number.parseInt(lifetimeHex, 16);
  const count = Number.parseInt(countHex, 16);
  if (BigInt(`0x${sentAtHex}`) >= 2n ** 53n || count > 16) return undefined;
  if (close && (once || lifetimeSeconds > 0)) return undefined;
  if (bound === /^0*$/.test(source)) return undefined;
  rest = rest.slice(all.length);
  const requests: string[] = [];
  while (requests.length < count) {
    const taken = requestAt(rest);
    if (taken === undefined) return undefined;
    requests.push(taken.shown);
    rest = rest.slice(taken.hexDigits);
  }
  if (!/^0*$/.test(rest)) return undefined;
  return {
    byteLength: bytes.length - rest.length / 2,
    sentAtMs: Number(BigInt(`0x${sentAtHex}`)),
    close,
    once,
    lifetimeSeconds,
    source: bound ? source : undefined,
    sourcePort: Number.parseInt(portHex, 16),
    requests,
  };
}

function requestAt(hex: string): { readonly shown: string; readonly hexDigits: number } | undefined {
  const ports = PORTS.exec(hex);
  if (ports !== null) {
    const [all, protocol, first = '', last = ''] = ports;
    return first === '0000' || last === '0000' || first > last
      ? undefined
      : { shown: `${protocol} ${first} ${last}`, hexDigits: all.length };
  }
  const length = /^01(0[1-9a-f]|1[0-9a-f]|20)/.exec(hex);
  if (length === null) return undefined;
  const digits = Number.parseInt(length[1] ?? '', 16) * 2;
  const name = hex.slice(4, 4 + digits);
  return name.length === digits && NAME_LETTERS.test(name)
    ? { shown: Buffer.from(name, 'hex').toString('latin1'), hexDigits: 4 + digits }
    : undefined;
}
