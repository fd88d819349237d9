// The one way that a packet takes: open → source and policy → grant. Each exit is one decision, told to the observers once.
import type { UnixMs } from '../protocol/brand.ts';
import { keyId } from '../protocol/identity.ts';
import type { PortRange } from '../protocol/ports.ts';
import type { Datagram } from './capture/capture.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config/config.ts';
import type { Decision, Observer } from './decision.ts';
import type { GrantKeeper, Owner } from './grants/grant-keeper.ts';
import type { Ledger } from './ledger/ledger.ts';
import { type FreshKnock, openDatagram } from './open/open.ts';
import type { Peer } from './open/peers.ts';
import type { TagBook } from './open/tag-book.ts';
import { authorize, settleAddress } from './policy/authorize.ts';
import type { Authorized } from './policy/authorized.ts';
import { drop, type Step } from './step.ts';

/** Tunable: ranges become one element a port, and one knock must not fill the sets. */
const MAX_PORTS_OF_A_KNOCK = 1024;

export type FlowOptions = {
  readonly config: Config;
  readonly tagBook: TagBook;
  readonly ledger: Ledger;
  readonly grants: GrantKeeper;
  readonly clock: Clock;
  readonly observe: Observer;
  /** The kernel refused an opening: look after the gate, then resolve. */
  readonly repair: () => Promise<void>;
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
    const context = { peers: this.#peers, tagBook, ledger, toleranceMs: this.#config.clockToleranceMs, now };
    const opened = openDatagram(datagram, context);
    if (!opened.pass) {
      this.#tellDrop(opened, datagram, opened.peer);
      return;
    }
    const knock = opened.value;
    const step = knock.body.action.kind === 'close' ? await this.#close(knock) : await this.#open(knock, now);
    if (!step.pass) this.#tellDrop(step, datagram, knock.peer);
  }

  async #close(knock: FreshKnock): Promise<Step<undefined>> {
    const { body, peer, datagram } = knock;
    const settled = settleAddress(body, peer.client, datagram.source);
    if (!settled.pass) return settled;
    // A close needs no rule, only an enabled client (SPEC "Close").
    if (!peer.client.enabled) return drop('client-disabled');
    const ports = body.requests.flatMap((request): readonly PortRange[] =>
      request.kind === 'ports' ? [request.ports] : (this.#config.services.get(request.name) ?? []),
    );
    if (body.requests.length > 0 && ports.length === 0) return drop('unknown-service');
    const ended = await this.#options.grants.closeBy(ownerOf(peer), settled.value, ports, body.sentAtMs);
    if (ended.length === 0) {
      const services: readonly string[] = [];
      this.#options.observe({
        kind: 'closed',
        client: peer.client.name,
        address: settled.value,
        services,
        why: 'by the client; nothing was open',
      });
    }
    return { pass: true, value: undefined };
  }

  async #open(knock: FreshKnock, now: UnixMs): Promise<Step<undefined>> {
    const { body, peer, datagram } = knock;
    const { grants, observe, repair } = this.#options;
    const authorized = authorize({ body, client: peer.client, key: peer.key, datagramSource: datagram.source, config: this.#config, now });
    if (!authorized.pass) return authorized;
    const owner = ownerOf(peer);
    const refusal = this.#limit(owner, authorized.value, body.sentAtMs);
    if (refusal !== undefined) return refusal;
    let granted = grants.grant(owner, authorized.value, body.sentAtMs);
    if (!granted.pass) {
      // The table may just have been flushed by somebody. Once it is back, this knock need not be lost.
      await repair();
      granted = grants.grant(owner, authorized.value, body.sentAtMs);
    }
    if (!granted.pass) return granted;
    observe({
      kind: 'granted',
      client: owner.client,
      address: authorized.value.address,
      services: authorized.value.services.map(({ label }) => label),
      lifetimeSeconds: Math.max(...authorized.value.services.map(({ lifetimeSeconds }) => lifetimeSeconds)),
      prolonged: granted.value.prolonged,
    });
    return { pass: true, value: undefined };
  }

  #limit(owner: Owner, request: Authorized, sentAtMs: UnixMs): Step<never> | undefined {
    const { grants } = this.#options;
    if (!this.#gateIsUp()) return drop('firewall', 'the gate was taken down by an administrator: nothing is closed, so nothing is opened');
    if (grants.isSuperseded(owner, request.address, sentAtMs)) return drop('superseded');
    const count = grants.countOf(owner.client) + grants.newcomers(owner, request);
    if (count > this.#config.maxGrants) return drop('max-grants', `this would be grant ${count} of at most ${this.#config.maxGrants}`);
    const ports = request.services.flatMap((service) => service.ports).reduce((sum, { first, last }) => sum + last - first + 1, 0);
    if (ports > MAX_PORTS_OF_A_KNOCK) return drop('not-allowed', `${ports} ports at once; the most is ${MAX_PORTS_OF_A_KNOCK}`);
    return undefined;
  }

  #tellDrop(step: Extract<Step<unknown>, { pass: false }>, datagram: Datagram, peer: Peer | undefined): void {
    const decision: Decision = {
      kind: 'dropped',
      reason: step.reason,
      detail: step.detail,
      client: peer?.client.name,
      address: datagram.source,
    };
    this.#options.observe(decision);
  }
}

function ownerOf(peer: Peer): Owner {
  return { client: peer.client.name, key: keyId(peer.key.publicKey) };
}
