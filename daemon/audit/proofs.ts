// Whether an audit line's knock was signed by the client whose key it names, for the server it names, and says what the line says it says. Pure.
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { PublicKey } from '../../protocol/identity.ts';
import { fingerprint, parsePublicLine } from '../../protocol/openssh.ts';
import { decodeBody, isProof } from '../../protocol/packet.ts';
import { askedFor } from './entries.ts';

const Base64 = z.string().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const Knock = z.object({
  client_key: z.string(),
  server_key: z.string(),
  asked: z.record(z.string(), z.unknown()),
  tag: Base64,
  nonce: Base64,
  body: Base64,
  signature: z.string(),
});

/** Fingerprints of who signed for whom, and the signature itself: no two decisions can have the same. */
export type Proven = { readonly ok: true; readonly client: string; readonly server: string; readonly signature: string };
export type Disproven = { readonly ok: false; readonly why: string };

/** Reads each key once: to check one costs as much as to check a signature, and thousands of lines name the same. */
export class KeyRing {
  readonly #keys = new Map<string, PublicKey | undefined>();

  /** Undefined: no key. */
  read(line: string): PublicKey | undefined {
    if (!this.#keys.has(line)) {
      const parsed = parsePublicLine(line);
      this.#keys.set(line, parsed.ok ? parsed.value.publicKey : undefined);
    }
    return this.#keys.get(line);
  }
}

/** `event` and `knock` of a line. Undefined: there is nothing to be proven, by what the event is. */
export function checkProof(event: unknown, knock: unknown, by: unknown, keys: KeyRing): Proven | Disproven | undefined {
  if (knock === undefined) return needsProof(event, by) ? wrong(`a line that says "${String(event)}" holds no signature`) : undefined;
  const fields = Knock.safeParse(knock);
  if (!fields.success) return wrong('the signed part of this line is not whole');
  const { client_key, server_key, asked, tag, nonce, body, signature } = fields.data;
  const [client, server] = [keys.read(client_key), keys.read(server_key)];
  if (client === undefined || server === undefined) return wrong('a key of this line is no key');
  const proof = { tag, nonce, bodyBytes: body, signature: new Uint8Array(Buffer.from(signature, 'base64')) };
  if (!isProof({ client, server, proof })) return wrong(`the signature is not by ${fingerprint(client)} for ${fingerprint(server)}`);
  const decoded = decodeBody(body);
  if (!decoded.ok) return wrong(`what was signed is no knock (${decoded.why})`);
  if (!isDeepStrictEqual(asked, askedFor(decoded.body))) return wrong('what was signed is not what this line says was asked for');
  const { kind } = decoded.body.action;
  if ((event === 'granted' && kind !== 'open') || (event === 'closed' && kind !== 'close'))
    return wrong(`what was signed asks to ${kind}, and this line says "${event}"`);
  return { ok: true, client: fingerprint(client), server: fingerprint(server), signature };
}

function needsProof(event: unknown, by: unknown): boolean {
  return event === 'refused' || event === 'closed' || (event === 'granted' && by !== 'administrator');
}

function wrong(why: string): Disproven {
  return { ok: false, why };
}
