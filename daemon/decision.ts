// What the daemon decided, as observers (log, counters, audit log, hooks) see it. Nothing here calls back into the flow.
import type { IpAddress } from '../protocol/address.ts';
import type { SignedKnock } from '../protocol/packet.ts';
import type { Grant } from './grants/grant-book.ts';
import type { DropReason } from './step.ts';

/** Names in decisions come from rule files (checked there) or are absent: nothing here was written by an unknown sender. */
export type Decision =
  | {
      readonly kind: 'granted';
      readonly client: string;
      readonly address: IpAddress;
      readonly services: readonly string[];
      readonly lifetimeSeconds: number;
      /** True when every grant stood already and was made to last. */
      readonly prolonged: boolean;
      /** Each of them, also those that stood already. */
      readonly grants: readonly Grant[];
      /** Absent when an administrator opened by hand. */
      readonly knock?: SignedKnock;
      /** From the moment at which the daemon had the packet until the kernel had the opening. */
      readonly tookMs?: number;
    }
  | {
      readonly kind: 'dropped';
      readonly reason: DropReason;
      readonly detail: string;
      /** Known once the seal opened under one client's key. */
      readonly client: string | undefined;
      readonly address: IpAddress;
      /** What the client signed, once its signature was proven. */
      readonly knock?: SignedKnock;
    }
  /** By the client's own close, by an administrator or a reload, or because its time was over. */
  | {
      readonly kind: 'closed' | 'revoked' | 'ended';
      readonly client: string;
      readonly address: IpAddress;
      readonly services: readonly string[];
      readonly why: string;
      /** None when nothing was open. */
      readonly grants: readonly Grant[];
      /** The client's close, if that is why. */
      readonly knock?: SignedKnock;
    };

export type Observer = (decision: Decision) => void;
