// Others lay hands on the gate in a history: all rules flushed, parts of the gate deleted or added to. With nftables it is not theirs while the
// daemon lives; with iptables it is put right again (docs/faults.md).
import assert from 'node:assert/strict';
import { setTimeout as moment } from 'node:timers/promises';
import { isNftables, lacks } from '../lab/backend.ts';
import { waitFor } from '../lab/wait.ts';
import { SHORT_S } from './cast.ts';
import { elementsOf } from './compare.ts';
import { Happening, one } from './happening.ts';
import type { Model } from './model.ts';
import type { World } from './world.ts';

const FLUSH = 'flush everything';

const NFTABLES = [
  'nft delete table inet postern',
  'nft flush set inet postern grants4',
  'nft add element inet postern grants4 { 10.77.1.2 . tcp . 8022 timeout 1h }',
  'nft flush chain inet postern gate',
  'nft insert rule inet postern gate accept',
] as const;
const IPTABLES = [
  'iptables --table mangle --flush',
  'ip6tables --table mangle --flush POSTERN-OPEN',
  'iptables --table mangle --delete PREROUTING -j POSTERN',
  'iptables --table mangle --insert POSTERN-OPEN -j RETURN',
  'ip6tables --table mangle --insert POSTERN -j ACCEPT',
] as const;
const IPSET = ['ipset flush postern-grant4', 'ipset flush postern-ending6'] as const;

/** Elements are counted every five seconds. */
const PUT_BACK_MS = 15_000;

export class Tamper extends Happening {
  protected readonly name = 'others';
  readonly #pick: number;

  constructor(pick: number) {
    super();
    this.#pick = pick;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    return model.isUp || this.#words() === FLUSH;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const words = this.#words();
    this.said = `${words}${model.isUp ? '' : ', while nobody runs'}`;
    if (words === FLUSH) {
      await world.flush();
      if (model.isUp) await world.mended();
      else model.loseGate();
      return;
    }
    const code = await world.run(words.split(' '));
    if (isNftables()) assert.notEqual(code, 0, `${words}: nobody refused it`);
    else {
      assert.equal(code, 0, words);
      await (words.startsWith('ipset') ? this.#untilPutBack(model, world) : world.mended());
    }
  }

  /** What ends soon may come back or not. */
  async #untilPutBack(model: Model, world: World): Promise<void> {
    for (;;) {
      const now = performance.now();
      const soon = model.grants(now).filter(({ end }) => end.from < now + (SHORT_S + 1) * 1000);
      if (soon.length === 0) break;
      await moment(Math.max(0, ...soon.map(({ end }) => end.to - now)));
    }
    const wanted = model.grants(performance.now()).flatMap(elementsOf);
    await waitFor(
      async () => {
        const openings = (await world.kernel())?.openings;
        return wanted.every((element) => openings?.has(element) === true);
      },
      { deadlineMs: PUT_BACK_MS, intervalMs: 100, what: 'what was taken out of the sets to be put back' },
    );
  }

  #words(): string {
    const other = isNftables() ? NFTABLES : lacks('sets') === false ? [...IPTABLES, ...IPSET] : IPTABLES;
    return one<string>([FLUSH, ...other], this.#pick);
  }
}
