// `knock doctor`: goes along the chain from this machine's files to the open door, link by link, says what holds and what does not, and what to
// do. Knocks for real, once all before that holds; opens nothing that a knock would not open.
import type { IpAddress } from '../protocol/address.ts';
import { fingerprint } from '../protocol/openssh.ts';
import type { Circumstances } from './diagnose.ts';
import { type Finding, formatFinding, judge, LINKS, type Link } from './doctor-findings.ts';
import { about, examineClock, examineConfiguration, examineIdentity, examineName, examineServerKey, failure } from './doctor-keys.ts';
import { examineRoute, judgeBefore, judgeDoor, judgeKnock, lookAtPorts } from './doctor-way.ts';
import { type AddressReport, knockAtAll } from './door.ts';
import { localAddresses } from './local-address.ts';
import type { KnockOptions } from './options.ts';
import { DEFAULT_KNOCK_PORT, type KnockPlan } from './plan.ts';
import { assembleKnock } from './prepare.ts';
import type { Resolved } from './resolve.ts';
import { atSshPort, type ProbePort, parseRequests, planProbes } from './services.ts';
import type { SettledMode } from './source.ts';
import { reachable, settleMode } from './targets.ts';
import type { World } from './world.ts';

/** Gives the exit code: 0 nothing failed, 1 something did. Throws for wrong usage only. */
export async function doctor(options: KnockOptions, world: World): Promise<number> {
  const json = options.output === 'json';
  const findings: Finding[] = [];
  const tell = (finding: Finding) => {
    findings.push(finding);
    if (!json) world.out(formatFinding(finding, world.colorOut));
  };
  const openedAfterMs = await examine(options, world, tell);
  const verdict = judge(findings, openedAfterMs);
  if (json) world.out(`${JSON.stringify({ ok: verdict.ok, host: options.host, findings, verdict })}\n`);
  else world.out(`\n${verdict.says}\n`);
  return verdict.ok ? 0 : 1;
}

type Tell = (finding: Finding) => void;

/** What lies on this machine. Gives after how long a door opened, if one did. */
async function examine(options: KnockOptions, world: World, tell: Tell): Promise<number | undefined> {
  const configuration = await examineConfiguration(options, world);
  if (configuration.value === undefined) {
    tell(configuration.finding);
    return skipFrom('name', 'who is meant is not known before the configuration can be read', tell);
  }
  const { profile, ssh } = configuration.value;
  const source = settleMode(options.source ?? profile.source ?? { kind: 'auto' }, profile);
  // Wrong usage is said before anything else is.
  const from = localAddresses(options.via, source);
  tell(configuration.finding);
  const requests = atSshPort(options.requests.length > 0 ? options.requests : parseRequests(profile.services ?? []).requests, ssh.port);

  const name = await examineName(ssh, options);
  tell(name.finding);
  const identity = await examineIdentity(options, profile, ssh, world);
  tell(identity.finding);
  const serverKey = examineServerKey(options, profile, ssh, requests);
  tell(serverKey.finding);
  const time = options.time ?? profile.time ?? { kind: 'system' };
  const { finding, clock, hostClock } = await examineClock(time, from, name.value, options, world);
  tell(finding);
  if (name.value === undefined) return skipFrom('route', 'there is no address to go to', tell);
  const resolved = usableTargets(name.value, source, from, tell);
  if (resolved === undefined) return skipFrom('before', 'there is no way to the host', tell);

  const parts = { kind: 'open', options, profile, ssh, requests, source, from, resolved, time, clock } as const;
  const keys =
    identity.value === undefined || serverKey.value === undefined ? undefined : { identity: identity.value, serverKey: serverKey.value };
  const context: Circumstances = {
    host: options.host,
    knockPort: options.port ?? profile.port ?? DEFAULT_KNOCK_PORT,
    timeoutMs: options.timeoutMs,
    sourcePort: options.sourcePort,
    serverKeyOrigin: serverKey.value?.origin ?? 'option',
    serverFingerprint: serverKey.value === undefined ? 'none' : fingerprint(serverKey.value.publicKey),
    clientFingerprint: identity.value === undefined ? 'none' : fingerprint(identity.value.secret.publicKey),
    nowText: new Date(world.now()).toISOString().replace(/\.\d+Z$/, 'Z'),
    clock,
    hostClock,
    jump: ssh.jump,
  };
  const plan = keys === undefined ? undefined : assembleKnock({ ...parts, ...keys }, world, () => undefined).plan;
  return await examineWay(
    { resolved, from, plan, ports: planProbes(requests, ssh.port, profile.offers ?? []).ports, context },
    world,
    tell,
  );
}

type Way = {
  readonly resolved: Resolved;
  readonly from: readonly IpAddress[];
  /** Undefined without both keys: then everything but the knock itself is looked at. */
  readonly plan: KnockPlan | undefined;
  readonly ports: readonly ProbePort[];
  readonly context: Circumstances;
};

/** What lies between this machine and the open door, for each address by itself. */
async function examineWay({ resolved, from, plan, ports, context }: Way, world: World, tell: Tell): Promise<number | undefined> {
  const targets = resolved.targets.slice(0, plan?.attempts.addresses ?? resolved.targets.length);
  const routes = await Promise.all(targets.map((target) => examineRoute(target, context.knockPort, from, context)));
  for (const route of routes) tell(route);
  const reached = targets.filter((_, index) => routes[index]?.state === 'ok');
  if (reached.length === 0) return skipFrom('before', 'there is no way to the host', tell);
  const looked = await Promise.all(reached.map((target) => lookAtPorts(target, ports, from)));
  const lastMs = plan?.slots.lastUsedMs();
  const sinceKnockMs = lastMs === undefined ? undefined : Math.max(0, world.now() - lastMs);
  for (const each of looked) tell(judgeBefore(each, context.host, sinceKnockMs));
  if (plan === undefined) return skipFrom('knock', 'a key is missing (see above)', tell);
  const shut = looked.filter(({ seen }) => seen.length === 0 || seen.some((each) => each.seen !== 'open')).map(({ target }) => target);
  if (shut.length === 0) return skipFrom('knock', 'what is open already cannot show whether a knock opens it', tell);
  // One by one: the first address that opens must not keep the others from being examined.
  const runs = shut.map((target) => knockAtAll({ ...plan, resolved: { ...resolved, targets: [target] } }, world, () => undefined));
  const reports = (await Promise.all(runs)).flat();
  for (const report of reports) tell(judgeKnock(report, context));
  for (const report of reports) tell(judgeDoor(report, context));
  return firstOpening(reports);
}

function skipFrom(link: Link, why: string, tell: Tell): undefined {
  for (const each of LINKS.slice(LINKS.indexOf(link))) tell(about(each, 'skipped', 'skipped', why));
}

function usableTargets(resolved: Resolved, source: SettledMode, from: readonly IpAddress[], tell: Tell): Resolved | undefined {
  try {
    return reachable(resolved, source, from);
  } catch (cause) {
    tell(failure('route', cause));
    return undefined;
  }
}

function firstOpening(reports: readonly AddressReport[]): number | undefined {
  const times = reports
    .filter((report) => report.ports.length > 0 && report.ports.every((port) => port.after === 'open'))
    .map((report) => Math.max(...report.ports.map((port) => port.openedAfterMs ?? 0)));
  return times.length === 0 ? undefined : Math.min(...times);
}
