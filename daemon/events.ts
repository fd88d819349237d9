// What happens to the daemon as a whole, as observers (audit log, metrics) see it. Nothing here calls back.

/** Fields become the audit log's, in snake_case: they are plain values. */
export type DaemonEvent =
  | {
      readonly kind: 'start';
      readonly version: string;
      readonly pid: number;
      readonly bootId: string;
      readonly serverKeys: readonly string[];
      readonly clients: number;
    }
  | { readonly kind: 'stop' }
  /** Over the control socket, by whom (null: the kernel did not tell), in the words of the command. What came of it follows, if anything did. */
  | { readonly kind: 'order'; readonly user: number | null; readonly command: string }
  | { readonly kind: 'reload'; readonly clients: number }
  /** The old rules hold. */
  | { readonly kind: 'reload-failed'; readonly why: string }
  /** By an administrator's order or a trial; that somebody else flushed the ruleset is not ours to call down. */
  | { readonly kind: 'gate-up' | 'gate-down' };

export type EventObserver = (event: DaemonEvent) => void;
