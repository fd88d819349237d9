// A backend that takes the place of another: after a change of the configuration, the kernel or the alternatives, what the other one left in this
// boot is removed, once the new gate stands. A note in the runtime folder says who was last; the kernel's rules and the note end with the boot.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../fresh-file.ts';
import { type Firewall, FirewallError } from './firewall.ts';
import { openIptables } from './iptables/iptables.ts';
import { openNftables } from './nftables/nftables.ts';

const NOTE = 'firewall-backend';
const BACKENDS: readonly Backend[] = ['nftables', 'iptables nf_tables', 'iptables legacy'];

/** `update-alternatives` may lead iptables to another set of rules, while ours still stand in the former. */
export type Backend = 'nftables' | 'iptables nf_tables' | 'iptables legacy';

export type Replacing = {
  readonly backend: Backend;
  readonly runtimeFolder: string;
  readonly table: string;
  readonly onTrouble: (text: string) => void;
};

/** The same firewall, which removes another backend's gate after its own is up or down. */
export function replacing(firewall: Firewall, own: Replacing): Firewall {
  return {
    ...firewall,
    install: async (...given) => {
      const result = await firewall.install(...given);
      if (await removeFormer(own)) note(own);
      return result;
    },
    remove: async () => {
      await firewall.remove();
      if (await removeFormer(own)) rmSync(noteFile(own), { force: true });
    },
  };
}

/** False: it may still stand, and is tried again the next time. */
async function removeFormer({ backend, runtimeFolder, table, onTrouble }: Replacing): Promise<boolean> {
  const former = read(runtimeFolder);
  if (former === backend || former === undefined) return true;
  try {
    const other = await openFormer(former, backend, table, runtimeFolder);
    try {
      await other.remove();
    } finally {
      await other.release();
    }
    return true;
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    onTrouble(`the gate that ${former} left could not be removed, so ports may stay closed after a knock: ${error.message}: ${error.cure}`);
    return false;
  }
}

function openFormer(former: Backend, backend: Backend, table: string, runtimeFolder: string): Promise<Firewall> {
  if (former === 'nftables') return openNftables({ table });
  const flavor = former === 'iptables legacy' ? 'legacy' : 'nf_tables';
  return openIptables({ table, runtimeFolder, ...(backend === 'nftables' ? {} : { flavor }) });
}

function read(runtimeFolder: string): Backend | undefined {
  try {
    const text = readFileSync(join(runtimeFolder, NOTE), 'latin1').trim();
    return BACKENDS.find((backend) => backend === text);
  } catch {
    return undefined;
  }
}

/** Without the note a later change of the backend needs `gate down` by hand; no reason for the gate not to stand. */
function note({ backend, runtimeFolder, onTrouble }: Replacing): void {
  if (read(runtimeFolder) === backend) return;
  try {
    mkdirSync(runtimeFolder, { recursive: true });
    replaceFile(join(runtimeFolder, NOTE), `${backend}\n`);
  } catch (error) {
    onTrouble(`which firewall holds the gate could not be noted in ${runtimeFolder}: ${error instanceof Error ? error.message : ''}`);
  }
}

function noteFile({ runtimeFolder }: Replacing): string {
  return join(runtimeFolder, NOTE);
}
