// The JSON of an answer in pieces: a listing of a hundred thousand grants is 30 MB, and must not be made in one go. Pure.

// Tunable: half a millisecond's work.
const ITEMS_IN_PIECE = 50;

/** Stands for an item of a walk that is not in the list: looking at it took time too. */
export const LEFT_OUT = Symbol('left out');

/** What `JSON.stringify` would give. Whatever can be walked (not only arrays) stands as a list, and is walked as the pieces are taken. */
export function* piecesOf(value: unknown): Generator<string, void> {
  if (typeof value !== 'object' || value === null) yield JSON.stringify(value) ?? 'null';
  else if (Symbol.iterator in value) yield* piecesOfList(value as Iterable<unknown>);
  else yield* piecesOfMap(value);
}

function* piecesOfList(items: Iterable<unknown>): Generator<string, void> {
  let piece = '[';
  let comma = '';
  let count = 0;
  for (const item of items) {
    if (item !== LEFT_OUT) {
      piece += `${comma}${JSON.stringify(item) ?? 'null'}`;
      comma = ',';
    }
    count += 1;
    if (count % ITEMS_IN_PIECE !== 0) continue;
    yield piece;
    piece = '';
  }
  yield `${piece}]`;
}

function* piecesOfMap(map: object): Generator<string, void> {
  let piece = '{';
  for (const [key, value] of Object.entries(map)) {
    if (value === undefined) continue;
    yield `${piece}${JSON.stringify(key)}:`;
    yield* piecesOf(value);
    piece = ',';
  }
  yield piece === '{' ? '{}' : '}';
}
