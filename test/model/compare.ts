// Holds reality against the model: what stands in the kernel, element by element, and which doors really open. No tolerance but for what is ending
// at that very moment, which is looked at again when it has ended.
import assert from 'node:assert/strict';
import { setTimeout as moment } from 'node:timers/promises';
import { SERVICE_NAMES, type ServiceName, SOURCE_PORT, serviceOf } from './cast.ts';
import type { KernelView, OpeningSet } from './kernel-view.ts';
import type { Grant, Model, Span } from './model.ts';
import type { Door, Outcome } from './prober.ts';
import type { World } from './world.ts';

/** The kernel counts in jiffies. */
const JIFFIES_MS = 50;

/** Fails with what differs. */
export async function compare(model: Model, world: World): Promise<void> {
  for (;;) {
    const from = performance.now();
    const doors = doorsOf(model, from);
    const kernel = await world.kernel();
    const outcomes = await world.probe(doors);
    const looked = { from, to: performance.now() };
    const ends = model.grants(from - JIFFIES_MS).map((grant) => model.endOf(grant));
    const ending = ends.filter((end) => end.from - JIFFIES_MS < looked.to);
    if (ending.length > 0) {
      const last = Math.max(...ending.map(({ to }) => to));
      await moment(Math.max(0, last + JIFFIES_MS - performance.now()));
      continue;
    }
    const differences = [...kernelDifferences(model, kernel, looked), ...doorDifferences(model, doors, outcomes, looked)];
    if (differences.length > 0) assert.fail(`model and reality differ:\n${differences.map((line) => `  ${line}`).join('\n')}`);
    return;
  }
}

function kernelDifferences(model: Model, kernel: KernelView | undefined, looked: Span): readonly string[] {
  if (model.isGateGone || kernel === undefined) {
    return model.isGateGone === (kernel === undefined)
      ? []
      : [`the gate ${kernel === undefined ? 'is gone' : 'stands'}, by the model it does not`];
  }
  const meant = new Map<string, Span>();
  for (const grant of model.grants(looked.from)) {
    for (const element of elementsOf(grant)) {
      const known = meant.get(element) ?? { from: 0, to: 0 };
      meant.set(element, { from: Math.max(known.from, grant.end.from), to: Math.max(known.to, grant.end.to) });
    }
  }
  const differences: string[] = [];
  for (const [element, leftMs] of kernel.openings) {
    const end = meant.get(element);
    if (end === undefined) differences.push(`the kernel lets in ${element} (${leftMs.from} ms), the model does not`);
    else if (leftMs.from > end.to - looked.from + JIFFIES_MS || leftMs.to < end.from - looked.to - JIFFIES_MS)
      differences.push(
        `${element} has ${leftMs.from} to ${leftMs.to} ms left, by the model ${end.from - looked.to} to ${end.to - looked.from}`,
      );
  }
  for (const element of meant.keys())
    if (!kernel.openings.has(element)) differences.push(`the model lets in ${element}, the kernel does not`);
  return differences;
}

/** As the kernel's view calls them. */
export function elementsOf(grant: Grant): readonly string[] {
  const { protocol, ports } = serviceOf(grant.service);
  const bound = grant.sourcePort === 0 ? '' : ` ${grant.sourcePort}`;
  return ports.map((port) => `${setOf(grant)} ${grant.address} ${protocol}${bound} ${port}`);
}

function setOf({ once, ends, sourcePort }: Grant): OpeningSet {
  if (once) return ends ? 'onceending' : 'once';
  if (sourcePort !== 0) return ends ? 'boundending' : 'bound';
  return ends ? 'ending' : 'grants';
}

type Tried = Omit<Door, 'to'> & { readonly service: ServiceName };

/** Each service from each address. What only a one-shot opens is not tried: that would spend it. */
function doorsOf(model: Model, now: number): readonly Tried[] {
  const tried: Tried[] = [];
  for (const from of model.addresses) {
    for (const service of SERVICE_NAMES) {
      const { protocol, ports } = serviceOf(service);
      const here = model.grants(now).filter((grant) => grant.address === from && grant.service === service);
      if (here.some(({ once }) => once) && !model.isGateGone) continue;
      for (const port of ports) {
        tried.push({ protocol, from, port, service, sourcePort: 0 });
        if (here.some(({ sourcePort }) => sourcePort !== 0)) tried.push({ protocol, from, port, service, sourcePort: SOURCE_PORT });
      }
    }
  }
  return tried;
}

function doorDifferences(model: Model, doors: readonly Tried[], outcomes: readonly Outcome[], looked: Span): readonly string[] {
  return doors.flatMap((door, at) => {
    const { from, service, protocol, port, sourcePort } = door;
    const isOpen =
      model.isGateGone ||
      model
        .grants(looked.from)
        .some(
          (grant) =>
            grant.address === from &&
            grant.service === service &&
            !grant.once &&
            (grant.sourcePort === 0 || grant.sourcePort === sourcePort),
        );
    const meant = isOpen ? 'open' : 'shut';
    const what = `${protocol}/${port}${sourcePort === 0 ? '' : ` from port ${sourcePort}`}`;
    return outcomes[at] === meant ? [] : [`${from} to ${what} is ${outcomes[at]}, by the model ${meant}`];
  });
}
