// What `npm test` prints: node's own spec report, with a list of what was left out, and why, before its summary.
import type { TestEvent } from 'node:test/reporters';
import { spec } from 'node:test/reporters';

/** A reporter for `node --test --test-reporter`. */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const formatter = new spec();
  const leftOut = new Map<string, number>();
  let summarized = false;
  for await (const event of source) {
    if (event.type === 'test:pass' && event.data.skip !== undefined) {
      const why = typeof event.data.skip === 'string' ? event.data.skip : 'no reason given';
      leftOut.set(why, (leftOut.get(why) ?? 0) + 1);
    }
    if (event.type === 'test:diagnostic' && !summarized && /^tests \d+$/.test(event.data.message)) {
      summarized = true;
      for (const [why, count] of leftOut) yield `left out: ${count} ${count === 1 ? 'test' : 'tests'}: ${why}\n`;
    }
    formatter.write(event);
    for (let chunk = formatter.read(); chunk !== null; chunk = formatter.read()) yield String(chunk);
  }
  formatter.end();
  for await (const chunk of formatter) yield String(chunk);
}
