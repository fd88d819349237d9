// docs/messages.md and the programs name the same messages: each one that a user can get is explained, and nothing is explained that no longer exists.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { messagesInSource, reasonsInSource } from '../lab/messages-in-source.ts';

const DOCUMENT = readFileSync(new URL('../../../docs/messages.md', import.meta.url), 'utf8');

type Row = { readonly message: string; readonly meaning: string; readonly section: string };

/** The rows of all tables, with the heading they stand under. */
function rows(): readonly Row[] {
  return DOCUMENT.split(/^## /m)
    .slice(1)
    .flatMap((part) =>
      [...part.matchAll(/^\| `(.*?)` \|(.*)\|$/gm)].map(([, message = '', meaning = '']) => ({
        message: message.replaceAll('\\|', '|'),
        meaning: meaning.trim(),
        section: part.split('\n', 1)[0] ?? '',
      })),
    );
}

const isReason = ({ section }: Row): boolean => section.startsWith('Why a knock was refused');

describe('docs/messages.md', () => {
  it('explains every message that a user can get', () => {
    const explained = new Set(rows().map(({ message }) => message));
    const missing = messagesInSource().filter(({ text }) => !explained.has(text));
    assert.deepEqual(
      missing.map(({ text, file, line }) => `${text} (${file}:${line})`),
      [],
    );
  });

  it('explains no message that does not exist', () => {
    const known = new Set(messagesInSource().map(({ text }) => text));
    assert.deepEqual(
      rows().filter((row) => !isReason(row) && !known.has(row.message)),
      [],
    );
  });

  it('explains each reason of a refusal, and no other', () => {
    const explained = rows().filter(isReason);
    assert.deepEqual(explained.map(({ message }) => message).toSorted(), [...reasonsInSource()].toSorted());
  });

  it('names no message twice, and says of each what to make of it', () => {
    const messages = rows().map(({ message }) => message);
    assert.deepEqual(
      messages.filter((message, at) => messages.indexOf(message) !== at),
      [],
    );
    assert.deepEqual(
      rows()
        .filter(({ meaning }) => meaning === '')
        .map(({ message }) => message),
      [],
    );
  });
});
