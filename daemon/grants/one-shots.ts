// Makes the book follow when a one-shot was used: the kernel takes it out without a word, and only the kernel knows. Opens and shuts nothing.
import type { IpAddress } from '../../protocol/address.ts';
import { admitsOnce, type Firewall, FirewallError, ONE_SHOT_KINDS, openingKey } from '../firewall/firewall.ts';
import type { Authorized } from '../policy/authorized.ts';
import type { Grant, GrantBook } from './grant-book.ts';
import type { GrantJournal } from './grant-journal.ts';
import { openingsOf } from './openings.ts';

export type OneShotsOptions = {
  readonly book: GrantBook;
  readonly journal: Pick<GrantJournal, 'put' | 'drop'>;
  readonly firewall: Pick<Firewall, 'standing'>;
  /** Whether the kernel has opened it already: what is on its way does not stand, and was not used. */
  readonly isProven: (grant: Grant) => boolean;
  readonly ended: (grant: Grant) => void;
};

export class OneShots {
  readonly #options: OneShotsOptions;

  constructor(options: OneShotsOptions) {
    this.#options = options;
  }

  /** Asks the kernel which were used, if there are any. Fails with a FirewallError when it cannot be read. */
  async noteUsed(): Promise<void> {
    await this.#look(this.#options.book.oneShots());
  }

  /**
   * Before one of these is granted: the time that a used one had left is nobody else's. Undefined: none is in the way. What cannot be read can
   * hardly be changed, so that the grant that follows says what is wrong.
   */
  before({ address, services }: Authorized): Promise<void> | undefined {
    if (!services.some(({ kind }) => admitsOnce(kind))) return undefined;
    return this.#unused(address).length === 0 ? undefined : this.#lookAt(address);
  }

  async #lookAt(address: IpAddress): Promise<void> {
    try {
      await this.#look(this.#unused(address));
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
    }
  }

  #unused(address: IpAddress): readonly Grant[] {
    return this.#options.book.oneShots().filter((grant) => grant.address.text === address.text);
  }

  async #look(grants: readonly Grant[]): Promise<void> {
    const { book, journal, firewall, isProven, ended } = this.#options;
    const candidates = grants.filter(isProven);
    if (candidates.length === 0) return;
    const standing = new Set((await firewall.standing(ONE_SHOT_KINDS)).map(({ opening }) => openingKey(opening)));
    // One that was granted anew meanwhile is another object and stays.
    const used = candidates
      .filter((grant) => book.get(grant.id) === grant)
      .filter((grant) => !openingsOf(grant).some((opening) => admitsOnce(opening.kind) && standing.has(openingKey(opening))));
    // With "sessions: end" its connection goes on until the grant ends, or is revoked.
    const lasting = used.filter(({ kind }) => kind === 'once-ending').map((grant): Grant => ({ ...grant, spent: true }));
    book.put(lasting);
    journal.put(lasting);
    const over = used.filter(({ kind }) => kind === 'once');
    book.remove(over);
    journal.drop(over);
    for (const grant of over) ended(grant);
  }
}
