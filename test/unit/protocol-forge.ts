// A forger for the tests: seals any signature, body and padding, as someone who holds the pairing keys but not the client's secret could.
import { createHmac, sign } from 'node:crypto';
import nacl from 'tweetnacl';
import { type SecretKey, signingKey } from '../../protocol/identity.ts';
import type { KnockProof } from '../../protocol/packet.ts';
import type { Pairing } from '../../protocol/pairing.ts';

/** Seals the parts of a knock; `proof` need not be anything that was ever signed. */
export function forge(pairing: Pairing, proof: KnockProof, padding: Uint8Array = new Uint8Array(60)): Uint8Array {
  const key = createHmac('sha256', pairing.sealKey).update(proof.tag).digest();
  const content = Buffer.concat([proof.signature, proof.bodyBytes, padding]);
  return Buffer.concat([proof.tag, proof.nonce, nacl.secretbox(content, proof.nonce, key)]);
}

/** What SPEC 5.2 has the client sign. */
export function signedMessage(server: Uint8Array, proof: Omit<KnockProof, 'signature'>, label = 'postern/1 knock'): Buffer {
  return Buffer.concat([Buffer.from(label), server, proof.tag, proof.nonce, proof.bodyBytes]);
}

export function signed(secret: SecretKey, server: Uint8Array, proof: Omit<KnockProof, 'signature'>, label?: string): KnockProof {
  return { ...proof, signature: sign(null, signedMessage(server, proof, label), signingKey(secret)) };
}
