// Makes whatever is given to the log fit to be logged: every string safe, nothing deep, nothing long.
import { safeText } from './safe-text.ts';

// Tunable
const MAX_DEPTH = 4;
const MAX_ENTRIES = 50;
const MAX_STACK_LINES = 12;

/** A copy with safe strings and keys. Errors become plain objects; bytes become their length: packets and keys are never logged. */
export function safeFields(value: unknown, depth: number = 0): unknown {
  if (typeof value === 'string') return safeText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'symbol' || typeof value === 'function') return safeText(String(value));
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'no date' : value.toISOString();
  if (depth >= MAX_DEPTH) return '…';
  if (value instanceof Error) return safeError(value, depth);
  if (Array.isArray(value)) {
    const kept = value.slice(0, MAX_ENTRIES).map((entry) => safeFields(entry, depth + 1));
    return value.length > MAX_ENTRIES ? [...kept, `… (${value.length - MAX_ENTRIES} more)`] : kept;
  }
  const entries = Object.entries(value);
  const kept = entries.slice(0, MAX_ENTRIES).map(([key, entry]) => [safeText(key), safeFields(entry, depth + 1)]);
  if (entries.length > MAX_ENTRIES) kept.push(['…', `${entries.length - MAX_ENTRIES} more`]);
  return Object.fromEntries(kept);
}

function safeError(error: Error, depth: number): unknown {
  // Lines of a stack as a list: one event stays one line of the log.
  const stack = (error.stack ?? '').split('\n').filter((line) => /^ +at /.test(line));
  const code =
    'code' in error && (typeof error.code === 'string' || typeof error.code === 'number') ? { code: safeFields(error.code) } : {};
  const cause = error.cause === undefined ? {} : { cause: safeFields(error.cause, depth + 1) };
  const where = stack.slice(0, MAX_STACK_LINES).map((line) => safeText(line.trim()));
  return { type: safeText(error.name), message: safeText(error.message), ...code, ...cause, stack: where };
}
