// What the model must know of the firewall that the gate stands in: what it refuses by design, and how exactly it ends what it opened.
// Each line has its reason in test/lab/backend-table.ts.
import { lacks } from '../lab/backend.ts';

export type Abilities = {
  /** Else a rule, a knock or an order for a single connection is refused. */
  readonly oneShots: boolean;
  /** Tags are looked up in the kernel; else each datagram as long as a knock goes to the daemon. */
  readonly sieve: boolean;
  /** Nobody else can touch the gate while the daemon lives; else it is put right again. */
  readonly ownTable: boolean;
  /** By how much an opening may end early: where whole seconds are counted. */
  readonly earlyMs: number;
  /** What the kernel does not end by itself: the daemon takes it out, and while there is none it stands (docs/faults.md, without `-m time`). */
  readonly swept: 'nothing' | 'source ports' | 'everything';
};

/** Of the backend that this process uses. */
export function abilities(): Abilities {
  const ownTable = lacks('a table of its own') === false;
  const inSets = lacks('sets') === false ? 'source ports' : 'everything';
  return {
    oneShots: lacks('one-shots') === false,
    sieve: lacks('sieve') === false,
    ownTable,
    earlyMs: lacks('parts of a second') === false ? 0 : 1000,
    swept: ownTable ? 'nothing' : inSets,
  };
}
