// The configuration as the daemon uses it: every value checked, every name resolved, every default filled in.
import type { Network } from '../../protocol/address.ts';
import type { PortRange } from '../../protocol/ports.ts';
import type { Place } from '../problem.ts';

/** With the place where the configuration names it. */
export type PlacedNetwork = Network & { readonly place?: Place };

/** Where the audit log goes, and when its file is renamed and a new one begun. */
export type AuditSettings = { readonly file: string; readonly maxBytes: number; readonly keep: number };

export type Config = {
  /** Absolute path of the file it came from. */
  readonly file: string;
  /** Paths of OpenSSH Ed25519 private keys; more than one while keys are rotated. */
  readonly serverKeys: readonly string[];
  readonly port: number;
  /** Empty: all but lo. An optional one may be absent when the daemon starts. */
  readonly interfaces: readonly { readonly name: string; readonly optional: boolean; readonly place?: Place }[];
  readonly firewall: 'auto' | 'nftables' | 'iptables' | 'none';
  readonly capture: 'auto' | 'nflog' | 'raw' | 'udp';
  /** As written, resolved, merged and sorted. */
  readonly protect: readonly PortRange[];
  readonly services: ReadonlyMap<string, readonly PortRange[]>;
  readonly trusted: readonly PlacedNetwork[];
  readonly refuse: 'drop' | 'reject';
  readonly unmatched: 'drop' | 'pass';
  readonly networks: readonly Network[];
  readonly defaultTtlSeconds: number;
  readonly maxGrants: number;
  readonly clockToleranceMs: number;
  /** Folder of rule files. */
  readonly rules: string;
  /** Folder that survives a reboot: ledger, grants. */
  readonly state: string;
  /** Path of the control socket; its folder also takes what need not survive a reboot. */
  readonly control: string;
  /** Name of the nftables table; of the chains and sets of iptables, in capitals. */
  readonly table: string;
  /** NFLOG group to try first; the next ones follow when it is taken. */
  readonly nflogGroup: number;
  readonly log: { readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' };
  /** Undefined: nothing is kept. */
  readonly audit: AuditSettings | undefined;
  /** Path of the Prometheus text file. */
  readonly metricsFile: string | undefined;
};
