// `knock HOST [SERVICE…]` and `knock close`: from options to what is printed and the exit code.
import { type Closing, closeDoor } from './close-door.ts';
import { CommandError, isCommandError } from './command-error.ts';
import { type Circumstances, circumstancesOf, explainFailure, explainStillOpen, explainUnsent } from './diagnose.ts';
import { type AddressReport, knockAtAll } from './door.ts';
import { clockNote } from './explain-clock.ts';
import { localAddressFor } from './local-address.ts';
import type { KnockOptions } from './options.ts';
import type { KnockPlan } from './plan.ts';
import { type Prepared, prepareKnock } from './prepare.ts';
import { quote } from './quote.ts';
import { formatMs, type JsonReport, jsonAddress, jsonClock, jsonError, printError, roundMs } from './report.ts';
import { formatRequest } from './services.ts';
import type { Clock } from './time-source.ts';
import type { World } from './world.ts';

/** What the host's web server says about the time, if it was asked and says anything. */
type HostClock = Circumstances['hostClock'];

type Finding = Pick<JsonReport, 'result' | 'address' | 'afterMs' | 'wasOpen' | 'notes'> & {
  readonly text: string;
  readonly error: CommandError | undefined;
};

/** Runs a whole knock and gives the exit code. Errors of every kind are printed here, in the form that was asked for. */
export async function knockCommand(action: 'open' | 'close', options: KnockOptions, world: World): Promise<number> {
  const remark = (text: string) => {
    if (options.output === 'verbose') world.err(`knock: ${text}\n`);
  };
  // What a command prints must stay its own: with `-- COMMAND` the result goes to stderr.
  const result = options.command.length > 0 ? world.err : world.out;
  let reports: readonly AddressReport[] = [];
  let clock: Clock | undefined;
  let hostClock: HostClock;
  let finding: Finding;
  try {
    const prepared = await prepareKnock(action, options, world, remark);
    clock = prepared.clock;
    if (options.dryRun) {
      const { dryRun } = await import('./dry-run.ts');
      world.out(await dryRun(prepared.plan, world, options.output === 'json'));
      return 0;
    }
    if (action === 'close') {
      const closing = await closeDoor(prepared.plan, world, remark);
      reports = closing.reports;
      finding = judgeClose(prepared, closing, world);
    } else {
      reports = await knockAtAll(prepared.plan, world, remark);
      hostClock = await compareClocks(prepared, reports, world);
      finding = judgeOpen(prepared, reports, hostClock, world);
    }
    const note = clockNote(clock);
    if (note !== undefined) finding = { ...finding, notes: [...finding.notes, note] };
    prepared.plan.slots.prune(world.now());
  } catch (cause) {
    if (!isCommandError(cause)) throw cause;
    finding = failed(cause);
  }
  if (options.output === 'json') result(`${JSON.stringify(jsonReport(action, options, reports, finding, jsonClock(clock, hostClock)))}\n`);
  if (finding.error !== undefined) {
    printError(finding.error, world);
    return finding.error.exitCode;
  }
  if (options.output === 'text' || options.output === 'verbose') {
    result(`${finding.text}\n`);
    for (const note of finding.notes) world.err(`knock: ${note}\n`);
  }
  if (options.command.length === 0) return 0;
  const { runCommand } = await import('./run-command.ts');
  return await runCommand(options.command, world);
}

/** After silence alone, and only where no clock was named: what the host itself says about the time. */
async function compareClocks({ plan, clock }: Prepared, reports: readonly AddressReport[], world: World): Promise<HostClock> {
  const sent = reports.filter((report) => report.sent > 0);
  const silent = sent.every((report) => report.ports.every((port) => port.after !== 'open' && port.before !== 'open'));
  const [first] = sent;
  if (first === undefined || !silent || plan.unchecked !== undefined || clock.kind !== 'system') return undefined;
  const { hostClock } = await import('./host-clock.ts');
  return await hostClock(first.address, localAddressFor(plan.from, first.address.family), world.now);
}

function judgeOpen(prepared: Prepared, reports: readonly AddressReport[], hostClock: HostClock, world: World): Finding {
  const { plan } = prepared;
  const about = circumstancesOf(prepared, hostClock, world);
  const sent = reports.filter((report) => report.sent > 0);
  if (sent.length === 0) return failed(explainUnsent(reports, about));
  if (plan.unchecked !== undefined) return unchecked(plan, sent, `not checked: ${plan.unchecked}`);
  const won = reports.find((report) => report.ports.every((port) => port.after === 'open'));
  if (won === undefined) return failed(withDoctor(explainFailure(reports, about), plan));
  const afterMs = Math.max(...won.ports.map((port) => port.openedAfterMs ?? 0));
  const wasOpen = won.ports.some((port) => port.before === 'open');
  return {
    result: 'open',
    address: won.address.text,
    afterMs: roundMs(afterMs),
    wasOpen,
    text: `open after ${formatMs(afterMs)}${won.sent > 1 ? ` (${won.sent} knocks)` : ''}`,
    notes: [...openNotes(won, plan), ...plan.probes.unprobed.map((why) => `not checked: ${why}`)],
    error: undefined,
  };
}

/** Where more can be found out than from one knock in vain. */
function withDoctor(error: CommandError, { host, requests }: KnockPlan): CommandError {
  if (error.code !== 'not-open' && error.code !== 'refused') return error;
  const words = [host, ...requests.map(formatRequest)].join(' ');
  return new CommandError(error.exitCode, error.code, error.message, [
    ...error.hints,
    `link by link: knock doctor ${quote(words).slice(1, -1)}`,
  ]);
}

function openNotes(won: AddressReport, plan: KnockPlan): readonly string[] {
  const already = won.ports.filter((port) => port.before === 'open').map((port) => port.service);
  const verb = already.length === 1 ? 'was' : 'were';
  const notes = [];
  if (already.length > 0)
    notes.push(`${already.join(', ')} ${verb} open before this knock: an earlier grant still holds, or the port is not protected`);
  notes.push(...guessNotes(plan));
  return notes;
}

function guessNotes(plan: KnockPlan): readonly string[] {
  return plan.probes.ports
    .filter((port) => port.guessed)
    .map((port) => `no SERVICE was named: ${port.service} of ${plan.host} was checked`);
}

function unchecked(plan: KnockPlan, sent: readonly AddressReport[], why: string): Finding {
  const where = sent.map((report) => report.address.text).join(' and ');
  return {
    result: 'sent',
    address: sent[0]?.address.text ?? null,
    afterMs: null,
    wasOpen: null,
    text: `knock sent to ${where} (${why})`,
    notes: plan.probes.unprobed.map((reason) => `not checked: ${reason}`),
    error: undefined,
  };
}

function judgeClose(prepared: Prepared, { reports, stillOpen }: Closing, world: World): Finding {
  const { plan } = prepared;
  const sent = reports.filter((report) => report.sent > 0);
  if (sent.length === 0) return failed(explainUnsent(reports, circumstancesOf(prepared, undefined, world)));
  if (plan.unchecked !== undefined) return unchecked(plan, sent, `not checked: ${plan.unchecked}`);
  if (stillOpen !== undefined) return failed(explainStillOpen(stillOpen.address.text, stillOpen.port));
  return {
    result: 'closed',
    address: sent[0]?.address.text ?? null,
    afterMs: null,
    wasOpen: null,
    text: 'closed',
    notes: guessNotes(plan),
    error: undefined,
  };
}

function failed(error: CommandError): Finding {
  return { result: 'failed', address: null, afterMs: null, wasOpen: null, notes: [], text: '', error };
}

function jsonReport(
  action: 'open' | 'close',
  options: KnockOptions,
  reports: readonly AddressReport[],
  finding: Finding,
  clock: JsonReport['clock'],
): JsonReport {
  return {
    ok: finding.error === undefined,
    action,
    host: options.host,
    result: finding.result,
    address: finding.address,
    afterMs: finding.afterMs,
    wasOpen: finding.wasOpen,
    knocksSent: reports.reduce((sum, report) => sum + report.sent, 0),
    services: options.requests.map(formatRequest),
    addresses: reports.map(jsonAddress),
    notes: finding.notes,
    clock,
    error: finding.error === undefined ? null : jsonError(finding.error),
  };
}
