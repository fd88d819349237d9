// What `knock doctor` finds: one finding for each link of the chain (and each address), how it is printed, and which one is to blame. Pure.
import { formatMs } from './report.ts';

/** The links, in the order in which they must hold. The words are a contract with scripts (see --help): only ever add. */
export const LINKS = ['configuration', 'name', 'client-key', 'server-key', 'clock', 'route', 'before', 'knock', 'door'] as const;
export type Link = (typeof LINKS)[number];

/** `unsure`: nothing that fails by itself, but to be looked at when a later link does. */
export type State = 'ok' | 'unsure' | 'failed' | 'skipped';

export type Finding = {
  readonly link: Link;
  readonly state: State;
  /** Stable word for scripts. */
  readonly code: string;
  readonly address: string | null;
  readonly says: string;
  readonly cures: readonly string[];
};

const LABELS: Readonly<Record<Link, string>> = {
  configuration: 'configuration',
  name: 'name lookup',
  'client-key': 'your key',
  'server-key': 'server key',
  clock: 'clock',
  route: 'route',
  before: 'before the knock',
  knock: 'knock',
  door: 'door',
};
/** Findings of the door that say nothing about why. */
const MANY_CAUSES: ReadonlySet<string> = new Set(['not-open', 'refused']);
const LABEL_WIDTH = Math.max(...Object.values(LABELS).map((label) => label.length));
const STATE_WIDTH = 'skipped'.length;
const COLORS: Readonly<Record<State, string>> = { ok: '\x1b[32m', unsure: '\x1b[33m', failed: '\x1b[31m', skipped: '\x1b[2m' };

export type Verdict = { readonly ok: boolean; readonly link: Link | null; readonly code: string; readonly says: string };

/** One line, and below it one for each cure. */
export function formatFinding({ state, link, says, cures }: Finding, color: boolean): string {
  const word = state.padEnd(STATE_WIDTH);
  const shown = color ? `${COLORS[state]}${word}\x1b[0m` : word;
  const lines = cures.map((cure) => `${' '.repeat(STATE_WIDTH + LABEL_WIDTH + 4)}- ${cure}\n`);
  return `${shown}  ${LABELS[link].padEnd(LABEL_WIDTH)}  ${says}\n${lines.join('')}`;
}

/**
 * The first link that failed is the one to mend. When only the door stays shut, which has many causes, an earlier link that is unsure is the
 * likeliest of them.
 */
export function judge(findings: readonly Finding[], openedAfterMs: number | undefined): Verdict {
  const failed = findings.find(({ state }) => state === 'failed');
  if (openedAfterMs !== undefined) {
    // Some address opened: a user gets in, whatever another address does.
    const [but = ''] = failed === undefined ? [] : [` (but look at: ${LABELS[failed.link]})`];
    return {
      ok: failed === undefined,
      link: failed?.link ?? null,
      code: failed?.code ?? 'works',
      says: `it works: open after ${formatMs(openedAfterMs)}${but}`,
    };
  }
  if (failed !== undefined) {
    const doubt = MANY_CAUSES.has(failed.code) ? findings.find(({ state }) => state === 'unsure') : undefined;
    const blamed = doubt ?? failed;
    const likely = doubt === undefined ? 'the first link that fails' : 'most likely';
    return { ok: false, link: blamed.link, code: blamed.code, says: `${likely}: ${LABELS[blamed.link]}: ${blamed.says}` };
  }
  const unsure = findings.find(({ state }) => state === 'unsure');
  const says =
    unsure === undefined
      ? 'nothing wrong was found, but whether the door opened cannot be seen from here'
      : `look at: ${LABELS[unsure.link]}: ${unsure.says}`;
  return { ok: true, link: unsure?.link ?? null, code: unsure?.code ?? 'not-seen', says };
}
