// Tells a repeated trouble the 1st, 2nd, 4th, 8th … time: a flood of troubles is not a flood of lines. Needs no clock.

/** The texts are the caller's own and few; what varies goes into `error`. */
export function rarely(tell: (text: string) => void): (text: string, error?: unknown) => void {
  const times = new Map<string, number>();
  return (text, error) => {
    const count = (times.get(text) ?? 0) + 1;
    times.set(text, count);
    if (!Number.isInteger(Math.log2(count))) return;
    const detail = error === undefined ? '' : ` (${error instanceof Error ? error.message : String(error)})`;
    tell(count === 1 ? `${text}${detail}` : `${text}${detail}: ${count} times so far`);
  };
}
