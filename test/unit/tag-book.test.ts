// The tag book against a plain map, whatever is written, struck and forgotten; and what it weighs.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import type { Peer } from '../../daemon/open/peers.ts';
import { TagBook } from '../../daemon/open/tag-book.ts';
import { TagPage } from '../../daemon/open/tag-page.ts';
import { tagOf } from '../../protocol/tags.ts';

/** As much of a peer as tags need. */
function peer(id: string, slots: number): Peer {
  const tagKey = createHash('sha256').update(id).digest();
  return { id, client: { slots }, pairing: { tagKey } } as unknown as Peer;
}

/** `node --expose-gc`, without an option for the whole run. */
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const hex = (tag: Uint8Array): string => Buffer.from(tag).toString('hex');

type Act =
  | { readonly act: 'write'; readonly who: number; readonly slots: number; readonly window: number }
  | { readonly act: 'erase'; readonly who: number }
  | { readonly act: 'forget'; readonly window: number };

const acts = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        act: fc.constant('write' as const),
        who: fc.nat(9),
        slots: fc.integer({ min: 1, max: 64 }),
        window: fc.nat(3),
      }),
    },
    { weight: 3, arbitrary: fc.record({ act: fc.constant('erase' as const), who: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ act: fc.constant('forget' as const), window: fc.nat(3) }) },
  ),
  { maxLength: 60 },
);

describe('tag book', () => {
  test('knows exactly the tags that were written and not struck or forgotten since', () => {
    fc.assert(
      fc.property(acts, (history: readonly Act[]) => {
        const book = new TagBook();
        const model = new Map<string, { peerId: string; window: number; slot: number }>();
        const seen = new Map<string, Uint8Array>();
        const drop = (which: (meaning: { peerId: string; window: number }) => boolean) => {
          for (const [tag, meaning] of model) if (which(meaning)) model.delete(tag);
        };
        for (const step of history) {
          if (step.act === 'write') {
            const someone = peer(`p${step.who}`, step.slots);
            drop(({ peerId, window }) => peerId === someone.id && window === step.window);
            const given = book.write(someone, step.window, (slot) => slot === 2);
            const tags = Array.from({ length: step.slots }, (_, slot) => tagOf(someone.pairing, step.window, slot));
            assert.deepEqual(given.map(hex), tags.filter((_, slot) => slot !== 2).map(hex));
            tags.forEach((tag, slot) => {
              model.set(hex(tag), { peerId: someone.id, window: step.window, slot });
              seen.set(hex(tag), tag);
            });
          } else if (step.act === 'erase') {
            const struck = book.erase(`p${step.who}`).map(hex);
            const mine = [...model].filter(([, { peerId }]) => peerId === `p${step.who}`).map(([tag]) => tag);
            assert.deepEqual(struck.toSorted(), mine.toSorted());
            drop(({ peerId }) => peerId === `p${step.who}`);
          } else {
            book.forget(step.window);
            drop(({ window }) => window === step.window);
          }
        }
        for (const [text, tag] of seen) assert.deepEqual(book.find(tag), model.get(text));
        assert.equal(book.size(), model.size);
        assert.equal(book.find(new Uint8Array(16)), undefined);
      }),
      { numRuns: 60 },
    );
  });

  test('tells tags apart that begin alike', () => {
    const page = new TagPage(4);
    const tags = Array.from({ length: 60 }, (_, at) => Uint8Array.from([1, 2, 3, 4, at, ...new Uint8Array(11)]));
    page.write('someone', tags);
    tags.forEach((tag, slot) => {
      assert.deepEqual(page.find(tag), { peerId: 'someone', slot });
    });
    assert.equal(page.find(Uint8Array.from([1, 2, 3, 4, 60, ...new Uint8Array(11)])), undefined);
  });

  test('a page that is full says so', () => {
    const page = new TagPage(64);
    page.write(
      'first',
      Array.from({ length: 64 }, (_, at) => tagNumber(at)),
    );
    assert.equal(page.hasRoom(1), false);
    assert.throws(() => page.write('second', [tagNumber(64)]), RangeError);
    assert.deepEqual(page.find(tagNumber(7)), { peerId: 'first', slot: 7 });
  });

  test('weighs under 50 bytes a tag, and no more after a hundred reloads that replace everybody', () => {
    const weigh = (): number => {
      collect();
      return process.memoryUsage().arrayBuffers;
    };
    const before = weigh();
    const book = new TagBook();
    for (let reload = 0; reload < 100; reload += 1) {
      for (let who = 0; who < 200 && reload > 0; who += 1) book.erase(`${reload - 1} ${who}`);
      const people = Array.from({ length: 200 }, (_, who) => peer(`${reload} ${who}`, 16));
      book.expect(7, people);
      for (const person of people) book.write(person, 7, () => false);
      // Armed anew, as after a flush: nothing is written again.
      book.expect(7, people);
      for (const person of people) book.write(person, 7, () => false);
      assert.equal(book.size(), 200 * 16);
    }
    const bytes = weigh() - before;
    assert.ok(bytes < 2 * 200 * 16 * 50, `${bytes} bytes`);
    const [tag = new Uint8Array()] = book.write(peer('99 5', 16), 7, () => false);
    assert.deepEqual(book.find(tag), { peerId: '99 5', slot: 0, window: 7 });
  });
});

function tagNumber(number: number): Uint8Array {
  const tag = new Uint8Array(16);
  new DataView(tag.buffer).setUint32(0, Math.imul(number, 2654435761));
  new DataView(tag.buffer).setUint32(12, number);
  return tag;
}
