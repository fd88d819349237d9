// Opens the firewall that this process tests (test/lab/backend.ts), for the gate-*.test.ts files.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Firewall } from '../../daemon/firewall/firewall.ts';
import { openIptables } from '../../daemon/firewall/iptables/iptables.ts';
import { openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import { backendName, lacks } from '../lab/backend.ts';
import type { Backend } from '../lab/backend-table.ts';

/** Of the sets of iptables here, so that a test can fill one. */
export const SMALL_CAPACITY = 2000;

/** By how much an opening may stand for too short a time: ipset counts whole seconds. */
export function roundingMs(): number {
  return lacks('parts of a second') === false ? 0 : 1000;
}

export type GateOptions = { readonly table: string; readonly onTrouble?: (text: string) => void };

/** `name` is for another process, which sees the same programs but does not know why. */
export async function openGate(options: GateOptions, name: Backend = backendName()): Promise<Firewall> {
  if (name === 'nftables') return openNftables(options);
  return openIptables({ ...options, runtimeFolder: mkdtempSync(join(tmpdir(), 'postern-run-')), capacity: SMALL_CAPACITY });
}
