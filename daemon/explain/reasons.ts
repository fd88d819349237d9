// Why a knock is refused, in words, and what to change: one sentence for each reason that the policy can have. Pure.
import type { IpAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { didYouMean } from '../config/nearest.ts';
import type { AllowEntry, Client } from '../rules/rulebook.ts';
import { windowStart } from '../rules/time-window.ts';
import type { DropReason } from '../step.ts';
import { NO_KEY, type Refusal } from './explain.ts';

export type Circumstances = {
  readonly client: Client;
  readonly from: IpAddress;
  readonly at: UnixMs;
  /** As it was asked for. */
  readonly service: string;
  readonly known: Iterable<string>;
  readonly maxGrants: number;
};

export type Reason = { readonly message: string; readonly cure: string };

/** `entry`: the one that refuses, if it is one. */
export function reasonWords({ reason, detail }: Refusal, entry: AllowEntry | undefined, about: Circumstances): Reason {
  const { client, from, at, service, known } = about;
  const networks = entry?.from?.map(({ text }) => text).join(', ');
  switch (reason) {
    case 'client-disabled':
      return { message: `client "${client.name}" is disabled`, cure: `run "posternd client enable ${client.name}"` };
    case 'client-expired':
      return {
        message: detail === '' ? `client "${client.name}" expired on ${day(client.expiresAtMs)}` : detail,
        cure: 'set a later date under expires:',
      };
    case 'client-network':
      return {
        message: `the from= of the client's key does not hold ${from.text}`,
        cure: 'change from= in the keys_file, or knock from there',
      };
    case 'unknown-service':
      return {
        message: `no service is called "${service}"`,
        cure: didYouMean(service, known, 'define it under services: in the configuration'),
      };
    case 'not-allowed':
      if (detail === NO_KEY) return { message: `client "${client.name}" has no usable key`, cure: 'give it one: key:, or keys_file:' };
      return {
        message: `no allow entry of "${client.name}" gives ${service === '' ? 'that' : service}${extra(detail, service)}`,
        cure: 'add it to services: of an allow entry',
      };
    case 'nothing-by-default':
      return { message: `nothing is given to "${client.name}" by default`, cure: 'name a service, or remove "default: false"' };
    case 'from-network':
      return {
        message: `${from.text} is in none of the networks of the entry${networks === undefined ? '' : ` (${networks})`}`,
        cure: `knock from there, or add ${from.text} to from:`,
      };
    case 'not-now':
      return {
        message: `the time window does not hold${entry?.when === undefined ? '' : ` (${entry.when.cron.join(' or ')}, ${entry.when.timezone})`}`,
        cure: whenAgain(entry, at),
      };
    case 'source-required':
      return {
        message: 'the entry wants a knock that is bound to its source address',
        cure: 'knock with --source, or remove require_source:',
      };
    case 'relayed':
      return { message: 'a knock for another address than it came from is refused', cure: 'set on_behalf: true' };
    case 'senseless-address':
      return { message: `nobody knocks from ${detail}`, cure: 'ask with the address that the server sees' };
    case 'source-port':
      return { message: 'a source port and one-shot grants exclude each other', cure: 'knock without --source-port' };
    case 'max-grants':
      return { message: `the client has as many live grants as it may (${detail})`, cure: 'wait, revoke some, or raise max_grants:' };
    default:
      return { message: otherReason(reason), cure: 'see the log' };
  }
}

/** Reasons that come before policy or after it: `explain` does not meet them. */
function otherReason(reason: DropReason): string {
  return `refused: ${reason}`;
}

function extra(detail: string, service: string): string {
  return detail === '' || detail === service ? '' : ` (${detail})`;
}

function day(expiresAtMs: UnixMs | undefined): string {
  return expiresAtMs === undefined ? 'an earlier day' : new Date(expiresAtMs - 1).toISOString().slice(0, 10);
}

function whenAgain(entry: AllowEntry | undefined, at: UnixMs): string {
  const next = entry?.when === undefined ? undefined : windowStart(entry.when, at);
  if (entry?.when === undefined || next === undefined) return 'it does not hold within a month: change when:';
  const shown = new Intl.DateTimeFormat('sv-SE', { timeZone: entry.when.timezone, dateStyle: 'short', timeStyle: 'short' }).format(next);
  return `it holds again from ${shown} (${entry.when.timezone}); else change when:`;
}
