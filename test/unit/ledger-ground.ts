// Ground for ledger tests: folders that a test owns, a clock that it moves, and copies of the folders as a crash would leave them.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { BootMs } from '../../daemon/clock.ts';
import type { Ledger, Mark, WindowRange } from '../../daemon/ledger/ledger.ts';
import { openLedger } from '../../daemon/ledger/open.ts';
import type { Problem } from '../../daemon/problem.ts';
import type { PublicKey } from '../../protocol/identity.ts';

export type Ground = { readonly root: string; readonly stateDir: string; readonly runtimeDir: string; readonly mounts: string[] };
export type Opened = { readonly ledger: Ledger; readonly problems: readonly Problem[]; readonly reports: string[] };

/** Around which most tests place their windows: some minute of 2026. */
export const NOW = 29_926_080;
/** What a caller with a tolerance of a minute passes: accepted, and one armed ahead. */
export function around(window: number): WindowRange {
  return { first: window - 1, last: window + 2 };
}

export function newGround(test?: TestContext): Ground {
  const root = fs.mkdtempSync(join(tmpdir(), 'pt-ledger-'));
  const ground = groundAt(root);
  test?.after(() => {
    for (const path of ground.mounts) spawnSync('umount', ['-l', path]);
    fs.rmSync(root, { recursive: true, force: true });
  });
  fs.mkdirSync(ground.stateDir);
  fs.mkdirSync(ground.runtimeDir);
  return ground;
}

export function groundAt(root: string): Ground {
  return { root, stateDir: join(root, 'state'), runtimeDir: join(root, 'run'), mounts: [] };
}

export function ledgerPath(ground: Ground): string {
  return join(ground.stateDir, 'ledger');
}

let copies = 0;

/** The folders as they are at this moment: what kill -9 leaves. With `isReboot` the runtime folder is empty. */
export function crashCopy(ground: Ground, isReboot = false): Ground {
  copies++;
  const root = join(ground.root, `copy-${copies}`);
  fs.mkdirSync(root);
  fs.cpSync(ground.stateDir, join(root, 'state'), { recursive: true, verbatimSymlinks: true });
  if (isReboot) fs.mkdirSync(join(root, 'run'));
  else fs.cpSync(ground.runtimeDir, join(root, 'run'), { recursive: true, verbatimSymlinks: true });
  // The lock names this process, which is alive: in truth the holder would be dead.
  for (const folder of ['state', 'run']) fs.rmSync(join(root, folder, 'ledger.lock'), { force: true });
  return groundAt(root);
}

export type Opening = { readonly boot?: string; readonly now?: number; readonly bootMs?: () => number };

export async function openIn(ground: Ground, opening: Opening = {}): Promise<Opened> {
  const reports: string[] = [];
  const bootMs = opening.bootMs ?? (() => 0);
  const opened = await openLedger({
    stateDir: ground.stateDir,
    runtimeDir: ground.runtimeDir,
    bootId: opening.boot ?? 'boot-1',
    acceptable: around(opening.now ?? NOW),
    clock: { boot: () => bootMs() as BootMs },
    report: (text) => reports.push(text),
  });
  return { ...opened, reports };
}

/** Keys are only bytes to the ledger: no need for real ones. */
export function key(number: number): PublicKey {
  const bytes = Buffer.alloc(32);
  bytes.writeUInt32BE(number, 0);
  return new Uint8Array(bytes) as PublicKey;
}

const SERVER = key(0xffff_0001);

export function markOf(client: number, window: number, slot = 0, server: PublicKey = SERVER): Mark {
  return { client: key(client), server, window, slot };
}
