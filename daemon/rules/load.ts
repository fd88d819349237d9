// Puts all rule files together into one RuleBook, or says everything that is wrong with them. Never half of the rules.
import type { UnixMs } from '../../protocol/brand.ts';
import { systemClock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import { didYouMean } from '../config/nearest.ts';
import { readPresharedKey } from '../config/preshared-key.ts';
import { formatPlace, inReadingOrder, type Problem, problemAt } from '../problem.ts';
import { rememberingJudge } from './check-hooks.ts';
import { gatherKeys } from './client-keys.ts';
import { type ClientDraft, type RuleFileDraft, readRuleFile } from './read-rule-file.ts';
import { type Instead, readRuleFiles } from './rule-files.ts';
import type { AllowEntry, Client, RuleBook } from './rulebook.ts';
import { ruleWarnings } from './warnings.ts';

export type LoadedRules = { readonly book?: RuleBook; readonly problems: readonly Problem[] };

export type RulesConfig = Pick<Config, 'rules' | 'services' | 'defaultTtlSeconds' | 'protect' | 'trusted' | 'maxGrants'>;

/** The rules, if nothing is wrong with them; warnings do not count as wrong. */
export async function loadRuleBook(config: RulesConfig, now: UnixMs = systemClock.wall()): Promise<LoadedRules> {
  const { draft, problems } = await draftRuleBook(config, now);
  return problems.some((problem) => problem.severity === 'error') ? { problems } : { book: draft, problems };
}

/** For `check`: what could be read, although something is wrong. Never to be run with. `instead`: how it would be after a change. */
export async function draftRuleBook(
  config: RulesConfig,
  now: UnixMs,
  instead?: Instead,
): Promise<{ readonly draft: RuleBook; readonly problems: readonly Problem[] }> {
  const problems: Problem[] = [];
  const files: RuleFileDraft[] = [];
  const judge = rememberingJudge();
  for (const file of await readRuleFiles(config.rules, problems, instead)) files.push(await readRuleFile(file, config, judge, problems));
  const byName = clientsByName(files, problems);
  const drafts = [...byName.values()];
  const keys = await gatherKeys(drafts, problems);
  const allow = allowOfEach(files, byName, problems);
  const clients: Client[] = [];
  for (const draft of drafts) {
    clients.push({
      name: draft.name,
      keys: keys.get(draft) ?? [],
      presharedKeys: await presharedKeys(draft, problems),
      slots: draft.slots,
      enabled: draft.enabled,
      expiresAtMs: draft.expiresAtMs,
      allow: allow.get(draft.name) ?? [],
      place: draft.place,
    });
  }
  const book: RuleBook = { clients };
  // Clients that could not be read are not missing: their problems are named already.
  const whole = !problems.some((problem) => problem.severity === 'error');
  const warnings = ruleWarnings(book, files, config, now, whole);
  return { draft: book, problems: inReadingOrder([...problems, ...warnings]) };
}

function clientsByName(files: readonly RuleFileDraft[], problems: Problem[]): ReadonlyMap<string, ClientDraft> {
  const clients = new Map<string, ClientDraft>();
  for (const client of files.flatMap((file) => file.clients)) {
    const first = clients.get(client.name);
    if (first === undefined) clients.set(client.name, client);
    else {
      const message = `the client "${client.name}" is defined already at ${formatPlace(first.place)}`;
      problems.push(problemAt(client.place, message, `write "- ref: ${client.name}" here, or choose another name`));
    }
  }
  return clients;
}

/** Each client's allow entries: those of all files that define it or refer to it, in the order of the files. */
function allowOfEach(
  files: readonly RuleFileDraft[],
  clients: ReadonlyMap<string, ClientDraft>,
  problems: Problem[],
): ReadonlyMap<string, readonly AllowEntry[]> {
  const allow = new Map<string, AllowEntry[]>();
  for (const file of files) {
    const here = new Set(file.clients.map(({ name }) => name));
    for (const { value: name, place } of file.refs) {
      if (!clients.has(name)) {
        problems.push(
          problemAt(place, `no client is called "${name}"`, didYouMean(name, clients.keys(), 'define it in one of the rule files')),
        );
      } else if (here.has(name)) {
        problems.push(problemAt(place, `"${name}" stands in this file already`, 'remove this reference'));
      }
      here.add(name);
    }
    for (const name of here) {
      const entries = allow.get(name) ?? [];
      entries.push(...file.allow);
      allow.set(name, entries);
    }
  }
  return allow;
}

/** An error, never a warning: without its pre-shared key a client would be let in by less than the rule demands. */
async function presharedKeys(client: ClientDraft, problems: Problem[]): Promise<readonly Uint8Array[]> {
  const keys: Uint8Array[] = [];
  for (const { value: path, place } of client.pskFiles) {
    const key = await readPresharedKey(path);
    if (!key.ok) {
      const [message = '', cure = ''] = key.why.split(' :: ');
      problems.push(problemAt(place, `client "${client.name}": ${message}`, cure));
    } else if (keys.some((other) => Buffer.from(other).equals(key.value))) {
      problems.push(problemAt(place, `client "${client.name}": the same pre-shared key twice`, 'remove one psk_file'));
    } else keys.push(key.value);
  }
  return keys;
}
