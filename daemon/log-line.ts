// How one event of the log looks to a person at a terminal. The event itself is JSON and was made safe before (log.ts).

const LEVEL_COLORS = new Map([
  ['trace', 90],
  ['debug', 90],
  ['info', 32],
  ['warn', 33],
  ['error', 31],
  ['fatal', 31],
]);
const DIM = 90;
/** Shown at the start of the line, or of use to machines only. */
const NOT_FIELDS = new Set(['level', 'priority', 'time', 'msg']);

/** `14:03:07 info  granted client=alice address=192.0.2.7 services=ssh`. What is no JSON object comes back as it is. */
export function formatLine(json: string, color: boolean): string {
  const event = parseEvent(json);
  if (event === undefined) return json;
  const paint = (code: number, text: string) => (color ? `\x1b[${code}m${text}\x1b[0m` : text);
  const level = String(event['level'] ?? '');
  const time = String(event['time'] ?? '').slice(11, 19);
  const fields = Object.entries(event)
    .filter(([key]) => !NOT_FIELDS.has(key))
    .map(([key, value]) => ` ${paint(DIM, `${key}=`)}${formatValue(value)}`);
  return `${paint(DIM, time)} ${paint(LEVEL_COLORS.get(level) ?? DIM, level.padEnd(5))} ${String(event['msg'] ?? '')}${fields.join('')}\n`;
}

function parseEvent(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Bare where that is clear, else as JSON: two fields can always be told apart. */
function formatValue(value: unknown): string {
  if (typeof value === 'string') return isBare(value) ? value : JSON.stringify(value);
  if (Array.isArray(value) && value.length > 0 && value.every((entry) => typeof entry === 'string' && isBare(entry)))
    return value.join(',');
  return JSON.stringify(value) ?? '';
}

function isBare(text: string): boolean {
  return /^[^\s"'=,]+$/.test(text);
}
