// `posternd client enable|disable|remove`: changes one client in the rule files, and tells the running daemon.
import {
  type Changed,
  changeRules,
  type FileChange,
  type ReloadState,
  reloadDaemon,
  requireWritable,
  ruleFileText,
} from '../clients/change-rules.ts';
import { requireClient } from '../clients/find-client.ts';
import { type Edit, removeClient, setEnabled } from '../clients/rule-text.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { isMap } from '../config/read-fields.ts';
import { readRuleFiles } from '../rules/rule-files.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { safeText } from '../safe-text.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';

export type EditAction = 'enable' | 'disable' | 'remove';
export type EditOptions = CommonOptions & { readonly action: EditAction; readonly name: string; readonly dryRun: boolean };

const DONE = { enable: 'enabled', disable: 'disabled', remove: 'removed' } as const;

export async function clientEditCommand(options: EditOptions, output: Output): Promise<void> {
  const { action, name, dryRun } = options;
  const config = requireConfig(await loadConfig(options.config));
  if (!dryRun) await requireWritable(config.rules);
  let comments = 0;
  const changed = await changeRules(config, dryRun, async (book) => {
    const client = requireClient(book, name);
    if (action === 'remove') {
      const removal = await planRemoval(config, book, name);
      comments = removal.comments;
      return removal.files;
    }
    const path = client.place.file;
    const before = await ruleFileText(path);
    return [{ path, before, after: requireEdit(setEnabled(before, name, action === 'enable'), path).text }];
  });
  const reload = changed.files.length === 0 || dryRun ? undefined : await reloadDaemon(config);
  if (options.json) output.out(JSON.stringify({ client: name, action, ...changeJson(changed, dryRun, reload) }, null, 2));
  else {
    for (const line of editLines(options, changed, comments)) output.out(line);
    tell(changed, dryRun, reload, output);
  }
  endAs(reload);
}

/** References first: the rules are right after each file. */
async function planRemoval(
  config: Config,
  book: RuleBook,
  name: string,
): Promise<{ readonly files: readonly FileChange[]; readonly comments: number }> {
  const definition = requireClient(book, name).place.file;
  const files: FileChange[] = [];
  let comments = 0;
  for (const { path, source } of await readRuleFiles(config.rules, [])) {
    const clients = isMap(source.data) && Array.isArray(source.data['clients']) ? source.data['clients'] : [];
    const refers = clients.some((item) => isMap(item) && item['ref'] === name);
    if (!refers && path !== definition) continue;
    const before = await ruleFileText(path);
    const edit = requireEdit(removeClient(before, refers ? 'ref' : 'name', name), path);
    comments += edit.comments;
    files.push({ path, before, after: edit.text });
  }
  return { files: files.sort((a, b) => Number(a.path === definition) - Number(b.path === definition)), comments };
}

/** The edit, or the reason why there is none as an error. */
export function requireEdit(edit: Edit, path: string): Extract<Edit, { ok: true }> {
  if (edit.ok) return edit;
  throw new CommandError(1, `${safeText(path, 300)}: ${edit.why}`);
}

function editLines({ action, name, dryRun }: EditOptions, { files, book }: Changed, comments: number): readonly string[] {
  const where = files.map(({ path }) => safeText(path, 300)).join(', ');
  if (files.length === 0) return [`${name} is ${DONE[action]} already`];
  if (dryRun) return [];
  const lines = [`${name} is ${DONE[action]}: ${where}`];
  if (comments > 0) lines.push(`the comment above it (${comments} line${comments === 1 ? '' : 's'}) went with it`);
  if (action === 'remove' && book.clients.length === 0) lines.push('no client is left: nobody can knock');
  return lines;
}

/** What all changes say of themselves, for `--json`. */
export function changeJson(changed: Changed, dryRun: boolean, reload: ReloadState | undefined) {
  return {
    dry_run: dryRun,
    files: changed.files.map(({ path }) => path),
    diff: dryRun ? changed.diff : null,
    warnings: changed.warnings,
    daemon: reload?.state ?? null,
    clients: changed.book.clients.length,
  };
}

/** What all changes say of themselves in words: what they would do, or whether the running daemon knows it. */
export function tell(changed: Changed, dryRun: boolean, reload: ReloadState | undefined, output: Output): void {
  for (const warning of changed.warnings) output.err(warning);
  if (dryRun) {
    output.out(changed.diff === '' ? 'nothing would change' : changed.diff.replace(/\n$/, ''));
    output.err('nothing was written (--dry-run)');
  }
  if (reload?.state === 'reloaded') {
    for (const note of reload.notes) output.err(`note: ${note}`);
    output.out(`posternd has read the rules again: ${reload.clients} client${reload.clients === 1 ? '' : 's'}`);
  }
  if (reload?.state === 'not-running') output.out('posternd is not running: it holds when it starts');
}

/** It is written, but it does not hold yet: that is not done. */
export function endAs(reload: ReloadState | undefined): void {
  if (reload?.state === 'failed')
    throw new CommandError(1, `it is written, but the running posternd goes on with the old rules: ${reload.why}`);
}
