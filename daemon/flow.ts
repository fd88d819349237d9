// The one way that a packet takes: open → source and policy → grant. Each exit is one decision, told to the observers once.
import type { UnixMs } from '../protocol/brand.ts';
import { keyId } from '../protocol/identity.ts';
import type { Request } from '../protocol/knock.ts';
import type { SignedKnock } from '../protocol/packet.ts';
import { coversPorts } from '../protocol/ports.ts';
import type { Datagram } from './capture/capture.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config/config.ts';
import type { Decision, Observer } from './decision.ts';
import { FirewallError } from './firewall/firewall.ts';
import type { Grant } from './grants/grant-book.ts';
import type { GrantKeeper, Owner } from './grants/grant-keeper.ts';
import type { Ledger } from './ledger/ledger.ts';
import { type FreshKnock, openDatagram } from './open/open.ts';
import type { Peer } from './open/peers.ts';
import type { TagBook } from './open/tag-book.ts';
import { authorize, authorizeClose } from './policy/authorize.ts';
import { drop, pass, type Step } from './step.ts';

export type FlowOptions = {
  readonly config: Config;
  readonly tagBook: TagBook;
  readonly ledger: Ledger;
  readonly grants: GrantKeeper;
  readonly clock: Clock;
  readonly observe: Observer;
  /** The kernel refused an opening: look after the gate, then resolve. */
  readonly repair: () => Promise<unknown>;
};

export class Flow {
  readonly #options: FlowOptions;
  #config: Config;
  #peers: ReadonlyMap<string, Peer> = new Map();
  #gateIsUp: () => boolean = () => true;

  constructor(options: FlowOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** A reload, between two packets. */
  use(config: Config, peers: ReadonlyMap<string, Peer>, gateIsUp: () => boolean): void {
    this.#config = config;
    this.#peers = peers;
    this.#gateIsUp = gateIsUp;
  }

  /** Never throws for what a packet says. Resolves when the decision has been told. */
  async receive(datagram: Datagram): Promise<void> {
    const { tagBook, ledger, clock } = this.#options;
    const now = clock.wall();
    const beganMs = performance.now();
    const context = { peers: this.#peers, tagBook, ledger, toleranceMs: this.#config.clockToleranceMs, now };
    const opened = openDatagram(datagram, context);
    if (!opened.pass) {
      this.#tellDrop(opened, datagram, opened.peer, opened.signed);
      return;
    }
    const knock = opened.value;
    const step = knock.body.action.kind === 'close' ? await this.#close(knock, now) : await this.#open(knock, beganMs);
    if (!step.pass) this.#tellDrop(step, datagram, knock.peer, knock.signed);
  }

  async #close(knock: FreshKnock, now: UnixMs): Promise<Step<undefined>> {
    const { body, peer, signed, datagram } = knock;
    const address = authorizeClose({ body, client: peer.client, key: peer.key, datagramSource: datagram.source, now });
    if (!address.pass) return address;
    const { grants, observe } = this.#options;
    let isTold = false;
    const tell = (ended: readonly Grant[]): void => {
      isTold = true;
      const services = ended.map(({ label }) => label);
      const why = ended.length === 0 ? 'by the client; nothing was open' : 'by the client';
      observe({ kind: 'closed', client: peer.client.name, address: address.value, services, why, grants: ended, knock: signed });
    };
    try {
      await grants.closeBy(ownerOf(peer), address.value, body.sentAtMs, (grant) => isMeant(grant, body.requests), tell);
    } catch (error) {
      if (error instanceof FirewallError) return drop('firewall', error.message);
      throw error;
    }
    if (!isTold) tell([]);
    return pass(undefined);
  }

  async #open(knock: FreshKnock, beganMs: number): Promise<Step<undefined>> {
    const first = await this.#grant(knock, knock.peer, beganMs);
    if (first.pass || first.reason !== 'firewall' || !this.#gateIsUp()) return first;
    // The table may just have been flushed by somebody. Once it is back, this knock need not be lost. Meanwhile a close may have come (P16a),
    // or a reload: everything is decided anew.
    await this.#options.repair();
    const peer = this.#peers.get(knock.peer.id);
    return peer === undefined ? first : this.#grant(knock, peer, beganMs);
  }

  /** Decides and grants without a pause in between: what is decided next knows of it. */
  async #grant(knock: FreshKnock, peer: Peer, beganMs: number, hasLooked = false): Promise<Step<undefined>> {
    const { body, signed, datagram } = knock;
    const { grants, observe, clock } = this.#options;
    while (grants.held !== undefined) await grants.held;
    const now = clock.wall();
    if (!this.#gateIsUp()) return drop('firewall', 'an administrator took the gate down: nothing is closed, so nothing is opened');
    const owner = ownerOf(peer);
    const authorized = authorize({
      body,
      client: peer.client,
      key: peer.key,
      datagramSource: datagram.source,
      services: this.#config.services,
      maxGrants: this.#config.maxGrants,
      now,
      liveGrants: grants.countOf(owner.client),
      isLive: (address, service) => grants.isLive(owner, address, service),
    });
    if (!authorized.pass) return authorized;
    if (grants.isSuperseded(owner, authorized.value.address, body.sentAtMs)) return drop('superseded');
    const looking = hasLooked ? undefined : grants.oneShots.before(authorized.value);
    if (looking !== undefined) {
      await looking;
      // Meanwhile a close may have come, or a reload: everything is decided anew.
      const still = this.#peers.get(knock.peer.id);
      return still === undefined ? drop('client-disabled') : this.#grant(knock, still, beganMs, true);
    }
    const granted = await grants.grant(owner, authorized.value, body.sentAtMs);
    if (!granted.pass) return granted;
    const { address, services } = authorized.value;
    observe({
      kind: 'granted',
      client: owner.client,
      address,
      services: services.map(({ label }) => label),
      lifetimeSeconds: Math.max(...services.map(({ lifetimeSeconds }) => lifetimeSeconds)),
      prolonged: granted.value.prolonged,
      grants: granted.value.grants,
      knock: signed,
      tookMs: performance.now() - beganMs,
    });
    return pass(undefined);
  }

  #tellDrop(
    step: Extract<Step<unknown>, { pass: false }>,
    datagram: Datagram,
    peer: Peer | undefined,
    signed: SignedKnock | undefined,
  ): void {
    const decision: Decision = {
      kind: 'dropped',
      reason: step.reason,
      detail: step.detail,
      client: peer?.client.name,
      address: datagram.source,
      ...(signed === undefined ? {} : { knock: signed }),
    };
    this.#options.observe(decision);
  }
}

/** A close without requests means all; else a grant is meant by its name, or by ports that hold all of its own. */
function isMeant(grant: Grant, requests: readonly Request[]): boolean {
  if (requests.length === 0) return true;
  return requests.some((request) =>
    request.kind === 'service' ? request.name === grant.label : grant.ports.every((held) => coversPorts(request.ports, held)),
  );
}

function ownerOf(peer: Peer): Owner {
  return { client: peer.client.name, key: keyId(peer.key.publicKey) };
}
