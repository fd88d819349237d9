// Lengths of time as people write them: 30s, 10m, 2h, 7d.
import { type Parsed, parsed, unparsed } from './brand.ts';
import { quoted } from './quoted.ts';

const SECONDS = { s: 1, m: 60, h: 3600, d: 86400 } as const;
type Unit = keyof typeof SECONDS;

/** Reads `30s`, `10m`, `2h`, `7d` as seconds. A bare number is refused: nobody agrees on its unit. */
export function parseDuration(text: string): Parsed<number> {
  const match = /^(0|[1-9]\d{0,8})([smhd])$/.exec(text);
  if (match === null) return unparsed(`not a duration: ${quoted(text)} (write 30s, 10m, 2h or 7d)`);
  return parsed(Number(match[1]) * SECONDS[match[2] as Unit]);
}

/** The shortest exact form: 90 is `90s`, 7200 is `2h`. */
export function formatDuration(seconds: number): string {
  for (const unit of ['d', 'h', 'm'] as const) {
    if (seconds > 0 && seconds % SECONDS[unit] === 0) return `${seconds / SECONDS[unit]}${unit}`;
  }
  return `${seconds}s`;
}
