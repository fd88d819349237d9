// Shows what a knock would say, field by field, without sending anything and without using a slot up.

import type { KnockBody } from '../protocol/knock.ts';
import { fingerprint } from '../protocol/openssh.ts';
import { encodeBody, MAX_PACKET_BYTES, MIN_PACKET_BYTES } from '../protocol/packet.ts';
import { windowOf } from '../protocol/tags.ts';
import { formatEndpoint } from './endpoint.ts';
import { localAddressFor } from './local-address.ts';
import { openPath } from './path.ts';
import type { KnockPlan } from './plan.ts';
import { quote } from './quote.ts';
import { findTranslation } from './resolve.ts';
import { formatRequest } from './services.ts';
import { chooseSource, needsTranslation } from './source.ts';
import { formatTimeSource } from './time-source.ts';
import type { World } from './world.ts';

/** One line for each field, or one object with `json`. A tag is not shown: it is a one-time password until it has been used. */
export async function dryRun(plan: KnockPlan, world: World, json: boolean): Promise<string> {
  const sentAtMs = world.now();
  const knocks = await Promise.all(
    plan.resolved.targets.slice(0, plan.attempts.addresses).map(async (target) => await describe(plan, target, sentAtMs)),
  );
  if (json) return `${JSON.stringify({ ok: true, dryRun: true, host: plan.host, knocks })}\n`;
  const blocks = knocks.map((fields) => {
    const rows = Object.entries(fields);
    const width = Math.max(...rows.map(([name]) => name.length));
    return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
  });
  return `${blocks.join('\n')}\nnothing was sent\n`;
}

async function describe(plan: KnockPlan, target: KnockPlan['resolved']['targets'][number], sentAtMs: KnockBody['sentAtMs']) {
  const { action, requests, sourcePort } = plan;
  const source = await sourceTowards(plan, target);
  const length = source.body === undefined ? undefined : encodeBody({ action, sentAtMs, source: source.body, sourcePort, requests }).length;
  return {
    to: `${target.text} udp/${plan.knockPort}`,
    'server key': fingerprint(plan.pairing.server),
    'client key': fingerprint(plan.pairing.client),
    window: `${windowOf(sentAtMs)} (one of its unused slots, drawn when it is sent)`,
    tag: '16 bytes, one-time',
    nonce: '24 bytes, random',
    version: '1',
    action: action.kind === 'close' ? 'close' : action.once ? 'open, for one connection' : 'open',
    'sent at': `${sentAtMs} (${new Date(sentAtMs).toISOString()})`,
    'signed by':
      plan.time.kind === 'system' ? "this machine's clock" : `the clock of ${formatTimeSource(plan.time)} (asked when it is sent)`,
    lifetime: action.kind === 'close' ? 'none' : action.lifetimeSeconds === 0 ? "the rule's default" : `${action.lifetimeSeconds} s`,
    source: source.text,
    'source port': sourcePort === 0 ? 'any' : String(sourcePort),
    requests: requests.length === 0 ? 'all that the rule gives by default' : requests.map(formatRequest).join(', '),
    body: length === undefined ? 'cannot be made' : `${length} bytes`,
    packet: `${MIN_PACKET_BYTES} to ${MAX_PACKET_BYTES} bytes, random length, signed and sealed`,
    attempts: `up to ${plan.attempts.perAddress}`,
    check: plan.unchecked ?? plan.probes.ports.map((probe) => `tcp/${probe.port}`).join(', '),
  };
}

async function sourceTowards(plan: KnockPlan, target: KnockPlan['resolved']['targets'][number]) {
  if (plan.source.kind === 'stun')
    return {
      body: { kind: 'unbound' } as const,
      text: `bound to what the STUN server ${quote(formatEndpoint(plan.source.server))} says (asked when it is sent)`,
    };
  try {
    // Connecting a UDP socket asks the kernel for a route and sends nothing.
    const path = await openPath(target, plan.knockPort, localAddressFor(plan.from, target.family));
    path.close();
    const translation = needsTranslation(plan.source, path.local, target) ? await findTranslation(target, plan.resolved) : 'none';
    const source = chooseSource(plan.source, path.local, target, translation);
    if (!source.ok) return { body: undefined, text: source.why };
    return source.value.kind === 'bound'
      ? { body: source.value, text: `bound to ${source.value.address.text}` }
      : { body: source.value, text: `not bound (this machine sends from ${path.local.text})` };
  } catch (cause) {
    return { body: undefined, text: `no way there (${cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error'})` };
  }
}
