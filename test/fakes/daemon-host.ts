// A host's folders with a daemon on them: real packets, real ledger, journal and rules, a firewall in memory, a clock by hand.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import pino from 'pino';
import type { Decision } from '../../daemon/decision.ts';
import { restoreGrants } from '../../daemon/grants/restore.ts';
import { createLedger, openLedger } from '../../daemon/ledger/open.ts';
import { Postern } from '../../daemon/postern.ts';
import { readSetup } from '../../daemon/setup.ts';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import type { Action, KnockBody } from '../../protocol/knock.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import { sealKnock } from '../../protocol/packet.ts';
import { pairAsClient } from '../../protocol/pairing.ts';
import { acceptedWindows, windowOf } from '../../protocol/tags.ts';
import { HandClock } from './hand-clock.ts';
import { MemoryFirewall } from './memory-firewall.ts';

export const START = 1_800_000_030_000; // the middle of a window
export const OPEN: Action = { kind: 'open', lifetimeSeconds: 0, once: false };
export const CLOSE: Action = { kind: 'close' };
export const ALICE = secretFromSeed(new Uint8Array(32).fill(1));
export const BOB = secretFromSeed(new Uint8Array(32).fill(2));
export const SERVER = secretFromSeed(new Uint8Array(32).fill(3));
export const HOME = '198.18.0.7';

export function address(text: string) {
  const result = parseAddress(text);
  assert.ok(result.ok);
  return result.value;
}

export function rulesText(
  clients: readonly (readonly [string, SecretKey])[],
  allow = '  - { services: [ssh], ttl: 60s, max_ttl: 1h }',
): string {
  const lines = clients.map(([name, secret]) => `  - { name: ${name}, key: ${formatPublicLine(secret.publicKey, name)} }`);
  return `name: test\nclients:\n${lines.join('\n')}\nallow:\n${allow}\n`;
}

/** A host's folders; a daemon can be started on them again and again. */
export class HostUnderTest {
  readonly time = new HandClock(START);
  readonly kernel = new MemoryFirewall();
  readonly decisions: Decision[] = [];
  readonly folder: string;
  #boot = '00000000-0000-4000-8000-000000000001';
  #stop: () => Promise<void> = async () => undefined;

  constructor(context: TestContext) {
    this.folder = mkdtempSync(join(tmpdir(), 'postern-daemon-'));
    context.after(() => rmSync(this.folder, { recursive: true }));
    for (const name of ['rules.d', 'state', 'run']) mkdirSync(join(this.folder, name));
    writeFileSync(join(this.folder, 'host_key'), formatPrivateKey(SERVER, 'server'), { mode: 0o600 });
    this.config('');
    this.rules(
      rulesText([
        ['alice', ALICE],
        ['bob', BOB],
      ]),
    );
  }

  config(more: string, protect = '[ssh, tcp/8443]'): void {
    const fixed = `server_key: host_key\nprotect: ${protect}\nrules: rules.d\nstate: state\ncontrol: run/control.sock\n`;
    writeFileSync(join(this.folder, 'postern.yaml'), `${fixed}${more}`, { mode: 0o644 });
  }

  rules(text: string): void {
    writeFileSync(join(this.folder, 'rules.d', 'rules.yaml'), text, { mode: 0o644 });
  }

  /** Another rule file with one client, whose key is made from `seed`. */
  addRules(name: string, seed: number, client: string): void {
    const key = formatPublicLine(secretFromSeed(new Uint8Array(32).fill(seed)).publicKey, name);
    writeFileSync(join(this.folder, 'rules.d', name), `clients:\n  - { ${client}, key: ${key} }\n`, { mode: 0o644 });
  }

  async start(): Promise<Postern> {
    if (!existsSync(join(this.folder, 'state', 'ledger'))) await createLedger(join(this.folder, 'state'));
    const setup = await readSetup(join(this.folder, 'postern.yaml'));
    const clock = this.time.clock();
    const accepted = acceptedWindows(clock.wall(), setup.config.clockToleranceMs);
    const { ledger } = await openLedger({
      stateDir: setup.config.state,
      runtimeDir: join(this.folder, 'run'),
      bootId: this.#boot,
      acceptable: { first: accepted.first, last: accepted.last + 1 },
      clock,
    });
    const postern = new Postern({
      setup,
      firewall: this.kernel.firewall(),
      ledger,
      sieve: { kind: 'log', group: 5, prefix: 'postern' },
      clock,
      bootId: this.#boot,
      runtimeFolder: join(this.folder, 'run'),
      left: await restoreGrants(join(this.folder, 'run'), this.#boot, clock.monotonic()),
      observe: (decision) => this.decisions.push(decision),
      log: pino({ level: 'silent' }),
    });
    this.#stop = async () => {
      await postern.disarm();
      await postern.end();
      await ledger.close();
    };
    await postern.start();
    return postern;
  }

  async stop(): Promise<void> {
    await this.#stop();
    this.#stop = async () => undefined;
  }

  /** A packet as `secret` would send it now; the clock of the client may differ. */
  knock(secret: SecretKey, slot: number, more: Partial<KnockBody> & { readonly skewMs?: number } = {}): Uint8Array {
    const { skewMs = 0, ...rest } = more;
    const sentAtMs = unixMs(this.time.now() + skewMs);
    const body: KnockBody = { action: OPEN, sentAtMs, source: { kind: 'unbound' }, sourcePort: 0, requests: [], ...rest };
    const pairing = pairAsClient(secret, SERVER.publicKey);
    return sealKnock({
      pairing,
      secret,
      window: windowOf(body.sentAtMs),
      slot,
      body,
      random: (count) => new Uint8Array(randomBytes(count)),
    });
  }

  /** Hands a packet to the daemon and gives back the decisions that it caused. */
  async deliver(postern: Postern, payload: Uint8Array, from = HOME): Promise<readonly string[]> {
    const before = this.decisions.length;
    await postern.receive({ payload, source: address(from), sourcePort: 40_000 });
    return this.decisions.slice(before).map((decision) => (decision.kind === 'dropped' ? decision.reason : decision.kind));
  }
}

export const SSH_HOME = `grant ${HOME} tcp 22 0`;

/** A host with a daemon that is stopped when the test ends. */
export async function running(context: TestContext): Promise<{ readonly host: HostUnderTest; readonly postern: Postern }> {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  const postern = await host.start();
  context.after(() => host.stop());
  return { host, postern };
}
