// What a line of an OpenSSH authorized_keys file means to us. Its user wrote it, so a line can only be taken, or skipped with a reason:
// nothing in it may stop a reload. Pure.
import { type Network, parseNetwork } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import type { PublicKey } from '../../protocol/identity.ts';
import { parsePublicLine } from '../../protocol/openssh.ts';
import { parseSshExpiry } from './expiry.ts';

export type KeyLine =
  | {
      readonly kind: 'key';
      readonly line: number;
      readonly publicKey: PublicKey;
      readonly expiresAtMs: UnixMs | undefined;
      readonly from: readonly Network[] | undefined;
    }
  | { readonly kind: 'skipped'; readonly line: number; readonly why: string };

/** The ssh-ed25519 lines of the file. Comments and keys of other types are not mentioned: they are there for sshd. */
export function parseAuthorizedKeys(text: string): readonly KeyLine[] {
  return text.split(/\r?\n/).flatMap((raw, at) => {
    const line = parseLine(raw.trim(), at + 1);
    return line === undefined ? [] : [line];
  });
}

function parseLine(raw: string, line: number): KeyLine | undefined {
  if (raw === '' || raw.startsWith('#')) return undefined;
  const skip = (why: string): KeyLine => ({ kind: 'skipped', line, why });
  if (raw.startsWith('@')) return skip('a marker line never counts');
  const split = splitOptions(raw);
  if (split === undefined) return /ssh-ed25519/.test(raw) ? skip('its options cannot be read') : undefined;
  if (!/^ssh-ed25519[ \t]/.test(split.rest)) return undefined;
  let expiresAtMs: UnixMs | undefined;
  let from: readonly Network[] | undefined;
  for (const { name, value } of split.options) {
    switch (name) {
      case 'cert-authority':
        return skip('cert-authority lines never count');
      case 'expiry-time': {
        const expiry = parseSshExpiry(value);
        if (!expiry.ok) return skip(`its expiry-time is ${expiry.why}`);
        // The earliest of several, as sshd has it.
        expiresAtMs = expiresAtMs === undefined || expiry.value < expiresAtMs ? expiry.value : expiresAtMs;
        break;
      }
      case 'from': {
        if (from !== undefined) return skip('it has more than one from=');
        const networks = value.split(',').map((part) => parseNetwork(part.trim()));
        const literal = networks.flatMap((network) => (network.ok ? [network.value] : []));
        if (literal.length !== networks.length) return skip('its from= holds more than plain networks (a name, a pattern or a negation)');
        from = literal;
        break;
      }
      default:
      // What sshd does after the door is open (command=, no-pty, …) is not about the door.
    }
  }
  const key = parsePublicLine(split.rest);
  return key.ok ? { kind: 'key', line, publicKey: key.value.publicKey, expiresAtMs, from } : skip(key.why);
}

type Option = { readonly name: string; readonly value: string };

/**
 * sshd(8) AUTHORIZED_KEYS FILE FORMAT: options are separated by commas, spaces stand only within double quotes, `\"` is a quote.
 * A line that begins with a key type has no options.
 */
function splitOptions(raw: string): { readonly options: readonly Option[]; readonly rest: string } | undefined {
  if (/^(?:ssh-|ecdsa-|sk-)[^\s,=]+[ \t]/.test(raw)) return { options: [], rest: raw };
  const options: Option[] = [];
  let at = 0;
  for (;;) {
    const match = /^([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?/.exec(raw.slice(at));
    if (match === null) return undefined;
    options.push({ name: (match[1] ?? '').toLowerCase(), value: (match[2] ?? '').replaceAll('\\"', '"') });
    at += match[0].length;
    if (raw[at] === ',') at += 1;
    else break;
  }
  if (raw[at] !== ' ' && raw[at] !== '\t') return undefined;
  return { options, rest: raw.slice(at).trim() };
}
