// A client by the name that somebody typed, or one line that says who was meant.
import { CommandError } from '../command-error.ts';
import { didYouMean } from '../config/nearest.ts';
import { quoted } from '../problem.ts';
import type { Client, RuleBook } from '../rules/rulebook.ts';

/** Throws a CommandError (exit 2) for a name that no client has. */
export function requireClient(book: RuleBook, name: string): Client {
  const client = book.clients.find((each) => each.name === name);
  if (client !== undefined) return client;
  const names = book.clients.map((each) => each.name);
  const cure = names.length === 0 ? 'there are none yet: "posternd client add"' : didYouMean(name, names, 'see "posternd client list"');
  throw new CommandError(2, `no client is called ${quoted(name)}: ${cure}`);
}
