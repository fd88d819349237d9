// The same ground for every system: one client, and for each system a server on a cable of its own, with a TCP service behind the door. A system that
// cannot be started is left out, with the reason; it does not take the others along.

import { fileURLToPath } from 'node:url';
import { createLab, type Lab } from '../../lab/lab.ts';
import { asking } from '../asking.ts';
import { crowdAddress, TIMED_PORT } from '../crowd.ts';
import type { SenderCalls } from '../knock-sender-calls.ts';
import type { CreateOptions, Ground, SystemUnderTest, Variant } from './system.ts';

const SENDER = fileURLToPath(new URL('../knock-sender.js', import.meta.url));

export type Started = { readonly variant: Variant; readonly system: SystemUnderTest; readonly startMs: number };
export type LeftOut = { readonly variant: Variant; readonly why: string };

export class Arena {
  readonly lab: Lab;
  readonly client: Lab['hosts'][number];
  readonly attacker: Lab['hosts'][number] | undefined;
  readonly started: Started[] = [];
  readonly leftOut: LeftOut[] = [];
  readonly #ask: ReturnType<typeof asking<SenderCalls>>;
  #addresses = 0;
  #servers = 0;

  private constructor(parts: Pick<Arena, 'lab' | 'client' | 'attacker' | 'ask'>) {
    this.lab = parts.lab;
    this.client = parts.client;
    this.attacker = parts.attacker;
    this.#ask = parts.ask;
  }

  /** `attacker`: a host of its own, on one switch with each server and the client. */
  static async create(label: string, deadlineMs = 1_200_000, more: { readonly attacker?: boolean } = {}): Promise<Arena> {
    const lab = await createLab({ label, deadlineMs });
    const client = await lab.host('client');
    // Every address of the crowd is the client's own.
    await client.exec(['ip', 'route', 'add', 'local', '10.64.0.0/10', 'dev', 'lo']);
    const sender = client.start([process.execPath, SENDER], { ipc: true });
    const attacker = more.attacker === true ? await lab.host('attacker') : undefined;
    return new Arena({ lab, client, attacker, ask: asking<SenderCalls>(sender) });
  }

  /** A fresh server with a service behind the door. */
  async ground(): Promise<Ground> {
    this.#servers += 1;
    const server = await this.lab.host(`s${this.#servers}`);
    if (this.attacker === undefined) await this.lab.link(server, this.client);
    else await this.lab.lan(server, this.client, this.attacker);
    const link = this.client.interfaces.length - 1;
    await server.exec(['ip', 'route', 'add', '10.64.0.0/10', 'via', this.client.ipv4(link)]);
    await server.listen({ tcp: [TIMED_PORT] });
    return { server, client: this.client };
  }

  /** Starts a system on ground of its own; undefined, and noted, where that fails. */
  async start(variant: Variant, options: CreateOptions = {}): Promise<Started | undefined> {
    let system: SystemUnderTest | undefined;
    try {
      system = await variant.create(await this.ground(), options);
      const { tookMs } = await system.start();
      const started = { variant, system, startMs: tookMs };
      this.started.push(started);
      return started;
    } catch (error) {
      await system?.close().catch(() => undefined);
      this.leftOut.push({ variant, why: firstLine(error) });
      return undefined;
    }
  }

  /** Asks the program that sends knocks and tries doors. */
  get ask(): ReturnType<typeof asking<SenderCalls>> {
    return this.#ask;
  }

  /** Source addresses that nobody has knocked from. */
  freshAddresses(count: number): readonly string[] {
    const first = this.#addresses;
    this.#addresses += count;
    return Array.from({ length: count }, (_, at) => crowdAddress(first + at + 1));
  }

  /** One knock of this system, timed to an accepted connection; null: not within the deadline. */
  async timeKnock(system: SystemUnderTest, options: { readonly client?: number; readonly deadlineMs?: number } = {}) {
    const [knock] = await system.knocks(this.freshAddresses(1), options.client);
    if (knock === undefined) throw new Error(`${system.name}: no knock`);
    return this.#ask('time', { to: system.ground.server.ipv4(), knock, deadlineMs: options.deadlineMs ?? 5_000 });
  }

  /** Something of this system failed on the way: it is ended and noted, the others go on. */
  async leaveOut(started: Started, error: unknown): Promise<void> {
    this.leftOut.push({ variant: started.variant, why: firstLine(error) });
    await this.end(started).catch(() => undefined);
  }

  async end(started: Started): Promise<void> {
    this.started.splice(this.started.indexOf(started), 1);
    await started.system.close();
    await started.system.ground.server.stopAll();
  }

  async close(): Promise<void> {
    for (const { system } of this.started) await system.close().catch(() => undefined);
    await this.lab.close();
  }
}

/** A reason as it stands in a table. */
export function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n').slice(0, 2).join(' ').slice(0, 300);
}
