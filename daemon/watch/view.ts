// What `posternd status --watch` shows, as the lines of a screen: pure. What does not fit is left out, and says so.
import { formatDuration } from '../../protocol/duration.ts';
import { localTime } from '../audit/describe.ts';
import type { WatchReport } from '../control/messages.ts';
import { safeText } from '../safe-text.ts';

export type Size = { readonly columns: number; readonly rows: number };

/** One look at the daemon, with the moment of it; or why there was none. */
export type Look =
  | { readonly kind: 'seen'; readonly report: WatchReport; readonly atMs: number }
  | { readonly kind: 'unseen'; readonly why: string; readonly atMs: number };

export type ViewOptions = {
  readonly look: Look;
  /** For rates: the look before, if it was one at the same daemon. */
  readonly before: Look | undefined;
  readonly size: Size;
  readonly color: boolean;
  /** The first grant that is shown. */
  readonly scroll: number;
};

const PAINT = { bad: '31;1', good: '32', dim: '90', head: '7' } as const;
type Paint = keyof typeof PAINT;
type Line = { readonly text: string; readonly paint?: Paint };

/** Wider than any terminal. */
const MOST_CHARS = 2000;
const KEYS = 'q quit   ↑↓ scroll the grants';
const EVENT_PAINT: Readonly<Record<string, Paint>> = { granted: 'good', refused: 'bad' };

/** Exactly as many lines as the screen has rows, none longer than it has columns. */
export function view({ look, before, size, color, scroll }: ViewOptions): readonly string[] {
  const clock = localTime(new Date(look.atMs));
  const body =
    look.kind === 'unseen'
      ? wrapped(look.why, size.columns).map((text) => ({ text, paint: 'bad' as const }))
      : bodyOf(look, before, size.rows - 2, scroll);
  const lines: Line[] = [{ text: titleOf(look, clock, size.columns), paint: 'head' }, ...body.slice(0, Math.max(0, size.rows - 2))];
  while (lines.length < size.rows - 1) lines.push({ text: '' });
  if (size.rows > 1) lines.push({ text: KEYS, paint: 'dim' });
  return lines.slice(0, size.rows).map(({ text, paint }) => painted(cut(text, size.columns), paint, color));
}

/** The largest value of `scroll` that still shows something new. */
export function mostScroll(look: Look): number {
  return look.kind === 'seen' ? Math.max(0, look.report.grants.length - 1) : 0;
}

function titleOf(look: Look, clock: string, columns: number): string {
  const title =
    look.kind === 'seen'
      ? ` posternd ${look.report.version}  pid ${look.report.pid}  up ${uptime(look.report.uptime_seconds)}`
      : ' posternd';
  return `${title.padEnd(columns - clock.length - 1)}${clock} `;
}

function bodyOf(look: Extract<Look, { kind: 'seen' }>, before: Look | undefined, room: number, scroll: number): readonly Line[] {
  const { report } = look;
  const state = stateLines(look, before);
  const grants = grantRows(report);
  // The newest decisions keep a third of what is left, at least four lines; the grants have the rest.
  const left = room - state.length - 4;
  const recentRoom = Math.min(report.recent.length, Math.max(4, Math.floor(left / 3), left - grants.length));
  const grantRoom = Math.max(1, left - recentRoom);
  const shown = grants.slice(scroll, scroll + grantRoom);
  const hidden = report.grants_total - shown.length;
  const all = `${report.grants_total} ${report.grants_total === 1 ? 'grant' : 'grants'}`;
  const more = hidden > 0 ? `${all}, ${hidden} of them not on the screen` : all;
  return [
    ...state,
    { text: '' },
    { text: `GRANTS  ${report.grants_total === 0 ? 'none' : more}`, paint: 'dim' },
    ...shown,
    { text: '' },
    { text: `RECENT  ${report.recent.length === 0 ? 'nothing yet' : ''}`, paint: 'dim' },
    ...report.recent.slice(0, Math.max(0, recentRoom)).map(recentLine),
  ];
}

function stateLines({ report, atMs }: Extract<Look, { kind: 'seen' }>, before: Look | undefined): readonly Line[] {
  const { gate, capture, kernel, knocks, ledger, audit } = report;
  const past = before?.kind === 'seen' && before.report.pid === report.pid && atMs > before.atMs ? before : undefined;
  const seconds = past === undefined ? 0 : (atMs - past.atMs) / 1000;
  const rate = (now: number, then: number | undefined): string =>
    then === undefined || seconds === 0 ? `${now}` : `${now} (${perSecond(Math.max(0, now - then) / seconds)})`;
  const dropped = Object.entries(knocks.dropped).filter(([, count]) => count > 0);
  const sum = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((total, count) => total + count, 0);
  const reasons = dropped.length === 0 ? '' : `: ${dropped.map(([reason, count]) => `${reason} ${count}`).join(', ')}`;
  const was = past?.report;
  return [
    gate.state === 'up'
      ? { text: `gate     up (${gate.backend}, table ${gate.table}), closed unless granted: ${gate.protected.join(' ') || 'nothing'}` }
      : { text: 'gate     DOWN: every port is open', paint: 'bad' },
    {
      text: `knocks   ${rate(knocks.granted, was?.knocks.granted)} granted, ${knocks.closed} closed, ${rate(sum(knocks.dropped), was === undefined ? undefined : sum(was.knocks.dropped))} dropped${reasons}`,
    },
    kernel === null
      ? { text: 'kernel   counters cannot be read now', paint: 'bad' }
      : {
          text: `kernel   ${rate(kernel.junk, was?.kernel?.junk)} junk, ${rate(kernel.refused, was?.kernel?.refused)} packets to closed ports, ${kernel.ended} of ended connections`,
        },
    {
      text: `capture  ${capture.name}, ${capture.seen} seen, ${capture.lost} lost; ${report.clients} clients, ${report.tags} tags armed`,
      ...(capture.lost > 0 ? { paint: 'bad' as const } : {}),
    },
    ledger.place === 'state'
      ? { text: `ledger   ${ledger.marks} marks` }
      : {
          text: `ledger   written to ${ledger.place === 'none' ? 'NOWHERE, no knock is accepted' : 'the runtime folder'}: ${ledger.note}`,
          paint: 'bad',
        },
    ...auditLines(audit),
  ];
}

function auditLines(audit: WatchReport['audit']): readonly Line[] {
  if (audit === null) return [{ text: 'audit    none, by the configuration' }];
  const lost = audit.lost > 0 ? `, ${audit.lost} LOST` : '';
  if (audit.state === 'failing')
    return [{ text: `audit    CANNOT BE WRITTEN (${audit.note}), ${audit.waiting} entries wait${lost}`, paint: 'bad' }];
  return [{ text: `audit    ${audit.lines} lines${lost}`, ...(audit.lost > 0 ? { paint: 'bad' as const } : {}) }];
}

function grantRows(report: WatchReport): readonly Line[] {
  const rows = report.grants.map((grant) => [
    grant.id,
    grant.by === 'administrator' ? `${grant.client} (by hand)` : grant.client,
    grant.address,
    `${grant.service}${grant.kind.startsWith('once') ? ' (once)' : ''}`,
    countdown(grant.remaining_seconds),
  ]);
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) => ({
    text: row
      .map((cell, column) => (column === row.length - 1 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
      .join('  '),
  }));
}

function recentLine({ time, event, client, address, services, why }: WatchReport['recent'][number]): Line {
  const who = client === '-' ? address : `${client} from ${address}`;
  const what = services.length === 0 ? '' : ` to ${services.join(', ')}`;
  const paint = EVENT_PAINT[event];
  return {
    text: `${localTime(new Date(time)).slice(11)}  ${event.padEnd(8)} ${who}${what}: ${why}`,
    ...(paint === undefined ? {} : { paint }),
  };
}

/** `9m 05s`, `12s`, `2h 03m`: as it runs down, its end stays in its place. */
function countdown(remainingSeconds: number): string {
  const seconds = Math.max(0, Math.ceil(remainingSeconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (seconds >= 86_400) return `${Math.floor(seconds / 86_400)}d ${two(Math.floor(seconds / 3600) % 24)}h`;
  if (seconds >= 3600) return `${Math.floor(seconds / 3600)}h ${two(Math.floor(seconds / 60) % 60)}m`;
  return seconds >= 60 ? `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s` : `${seconds}s`;
}

function uptime(seconds: number): string {
  return seconds < 120 ? formatDuration(Math.floor(seconds)) : countdown(seconds);
}

function perSecond(rate: number): string {
  return `${rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10}/s`;
}

function cut(text: string, columns: number): string {
  // A daemon is no reason to trust a word with a terminal.
  const letters = [...safeText(text, MOST_CHARS)];
  return letters.length <= columns ? letters.join('') : `${letters.slice(0, Math.max(0, columns - 1)).join('')}…`;
}

/** A sentence that says what to do must not be cut. */
function wrapped(sentence: string, columns: number): readonly string[] {
  const lines: string[] = [];
  for (const word of sentence.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= columns) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function painted(text: string, paint: Paint | undefined, color: boolean): string {
  if (paint === undefined || (!color && paint !== 'head')) return text;
  // The bar at the top is no color: it stands there with NO_COLOR too.
  return `\x1b[${PAINT[paint]}m${text}\x1b[0m`;
}
