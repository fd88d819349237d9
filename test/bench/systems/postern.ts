// Postern as a system under test, as it is shipped: the environment of its unit, rule files as a person would write them.
import { join } from 'node:path';
import { parseAddress } from '../../../protocol/address.ts';
import { parsePublicLine } from '../../../protocol/openssh.ts';
import { Installation, Knocker } from '../../lab/installation.ts';
import { SLOTS, TIMED_PORT, writeCrowd } from '../crowd.ts';
import { CrowdKnocks, TIMED_REQUEST } from '../crowd-knocks.ts';
import type { SentKnock } from '../knock-sender-calls.ts';
import { writePlainProfiles } from '../plain-profiles.ts';
import { unitEnvironment } from '../unit.ts';
import { GRANT_SECONDS, type Ground, type SystemUnderTest } from './system.ts';

/** A minute's knocks of the fastest measurement: 16 of each. */
const USUAL_CLIENTS = 64;
const KNOCK_PORT = 62_201;
const PER_RULE_FILE = 1000;

export type PosternSystem = SystemUnderTest & {
  readonly installation: Installation;
  readonly knockPort: number;
};

export type PosternOptions = {
  readonly name: string;
  /** Added to postern.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** With V8's compiler, as a drop-in for the unit gives it back. */
  readonly isCompiled?: boolean;
  readonly clients?: number;
  /** Knocks of each in a minute; default 16. */
  readonly slots?: number;
  /** Words for node, say `--import PROBE`. */
  readonly node?: readonly string[];
  readonly ipc?: boolean;
  /** Added to the daemon's environment. */
  readonly env?: Readonly<Record<string, string>>;
};

export async function createPostern(ground: Ground, options: PosternOptions): Promise<PosternSystem> {
  const { server, client } = ground;
  const { clients = USUAL_CLIENTS, slots = SLOTS } = options;
  const config = { protect: [`tcp/${TIMED_PORT}`], port: KNOCK_PORT, refuse: 'reject', max_grants: 10_000, ...options.config };
  const installation = await Installation.create(server, config, { name: 'nobody', clients: [], allow: [] });
  writeCrowd(join(installation.folder, 'rules.d'), clients, Math.ceil(clients / PER_RULE_FILE), { slots });
  const key = parsePublicLine(installation.publicLine);
  if (!key.ok) throw new Error(key.why);
  const crowd = new CrowdKnocks(Buffer.from(key.value.publicKey).toString('base64'), slots);
  const person = await Knocker.create(client, 'alice');
  person.trust(installation);
  writePlainProfiles(person.home);
  installation.writeRules(rulesOf(person));
  let next = 0;

  const whoHasKnocksLeft = (): number => {
    for (let tried = 0; tried < clients; tried += 1) {
      const number = next;
      if (crowd.slotsLeft(number) > 0) return number;
      next = (next + 1) % clients;
    }
    throw new Error(`all ${clients * slots} knocks of this minute are used`);
  };
  const knock = (from: string, number: number): SentKnock => {
    const address = parseAddress(from);
    if (!address.ok) throw new Error(address.why);
    const source = { kind: 'bound', address: address.value } as const;
    const payload = crowd.seal(number, { requests: TIMED_REQUEST, lifetimeSeconds: GRANT_SECONDS, source });
    return { from, datagrams: [{ port: KNOCK_PORT, payload: Buffer.from(payload).toString('base64') }] };
  };

  return {
    name: options.name,
    ground,
    installation,
    knockPort: KNOCK_PORT,
    start: async () => {
      const started = performance.now();
      const env = { ...(options.isCompiled === true ? {} : unitEnvironment()), ...options.env };
      await installation.start({ node: options.node ?? [], env, ipc: options.ipc ?? false, deadlineMs: 180_000 });
      return { tookMs: performance.now() - started };
    },
    stop: () => installation.stop(),
    pid: () => installation.daemon.pid,
    knocks: async (from, number) => from.map((address) => knock(address, number ?? whoHasKnocksLeft())),
    clientCommand: () => ({ argv: person.command([`${server.name}4`, `tcp/${TIMED_PORT}`]), env: { HOME: person.home } }),
    shut: async () => void (await installation.posternd(['revoke', person.name], { mayFail: true })),
    close: async () => {
      await installation.close();
      person.close();
    },
  };
}

/** Somebody with an ordinary profile, for the client program; 64 knocks a minute, as a benchmark is in a hurry. */
function rulesOf(person: Knocker) {
  return {
    name: 'people',
    clients: [{ name: person.name, key: person.publicLine, slots: 64 }],
    allow: [{ services: [`tcp/${TIMED_PORT}`], ttl: `${GRANT_SECONDS}s`, max_ttl: '1h' }],
  };
}
