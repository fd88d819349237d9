// The answers of `posternd explain` in words and as JSON. Pure.
import { contains, type IpAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { formatDuration } from '../../protocol/duration.ts';
import { conditionsOf, entryJson } from '../clients/describe.ts';
import type { Config } from '../config/config.ts';
import type { AllowEntry, Client } from '../rules/rulebook.ts';
import { safeText } from '../safe-text.ts';
import { type Answer, isAboutClient, isAboutPlace, isAllowed } from './explain.ts';
import { type Circumstances, type Reason, reasonWords } from './reasons.ts';

/** The answers in words and as JSON. Lives as long as the command. */
export class Telling {
  readonly #about: Omit<Circumstances, 'from'>;
  readonly #client: Client;
  readonly #from: IpAddress | undefined;
  readonly #answers: readonly Answer[];
  readonly #shown: Answer | undefined;

  constructor(
    config: Pick<Config, 'services' | 'maxGrants'>,
    client: Client,
    service: string | undefined,
    from: IpAddress | undefined,
    at: UnixMs,
    answers: readonly Answer[],
  ) {
    this.#about = { client, at, service: service ?? '', known: config.services.keys(), maxGrants: config.maxGrants };
    this.#client = client;
    this.#from = from;
    this.#answers = answers;
    // Of those that are refused, one that gets further than its address.
    const further = answers.find(({ verdict }) => !('pass' in verdict && verdict.pass) && !isAboutPlace(verdict));
    this.#shown = answers.find(isAllowed) ?? further ?? answers[0];
  }

  /** Undefined: it is let in from somewhere. */
  refusedFor(): string | undefined {
    const { verdict } = this.#shown ?? {};
    return verdict === undefined || ('pass' in verdict && verdict.pass) ? undefined : verdict.reason;
  }

  lines(): readonly string[] {
    const shown = this.#shown;
    if (shown === undefined) return [];
    const { name, place } = this.#client;
    const what = this.#about.service === '' ? 'what is given by default' : this.#about.service;
    const when = new Date(this.#about.at).toISOString().replace(/:\d\d\.\d{3}Z$/, 'Z');
    const { verdict } = shown;
    const deciding = shown.candidates.filter(({ reached }) => reached);
    const others = shown.candidates.filter(({ reached }) => !reached);
    const client = `client     ${name}, ${at(place)}`;
    if ('pass' in verdict && verdict.pass) {
      const given = verdict.value.services.map(
        (service) =>
          `${service.label} for ${formatDuration(service.lifetimeSeconds)}${service.kind.startsWith('once') ? ', one connection' : ''}`,
      );
      return [
        `yes: ${name} may open ${given.join(', ')}, from ${this.#where()}, at ${when}`,
        client,
        ...deciding.map(({ entry }) => `decided by ${describe(entry)}`),
      ];
    }
    const words = this.#words(shown, verdict, deciding[0]?.entry);
    if (isAboutClient(verdict))
      return [`no: ${name} may not open ${what} from ${this.#where()} at ${when}: ${words.message}`, `to change  ${words.cure}`, client];
    return [
      `no: ${name} may not open ${what} from ${this.#where()} at ${when}: ${words.message}`,
      `to change  ${words.cure}`,
      client,
      ...deciding.map(({ entry }) => `decided by ${describe(entry)}`),
      ...others.map(({ entry, refusal }) => {
        const alone = refusal === undefined ? 'would let it in' : `would refuse it too: ${this.#words(shown, refusal, entry).message}`;
        return `never asked ${describe(entry)}: ${deciding.length > 0 ? 'an entry above decides; alone it' : 'it does not give all of it; it'} ${alone}`;
      }),
    ];
  }

  json() {
    const shown = this.#shown;
    const verdict = shown?.verdict;
    const passed = verdict !== undefined && 'pass' in verdict && verdict.pass ? verdict.value : undefined;
    const refused = verdict === undefined || ('pass' in verdict && verdict.pass) ? undefined : verdict;
    const deciding = shown?.candidates.find(({ reached }) => reached);
    const words = shown === undefined || refused === undefined ? undefined : this.#words(shown, refused, deciding?.entry);
    return {
      allowed: passed !== undefined,
      client: { name: this.#client.name, file: this.#client.place.file, line: this.#client.place.line },
      service: this.#about.service === '' ? null : this.#about.service,
      from: this.#from?.text ?? null,
      /** Without --from: of the addresses that make a difference, those that are let in. */
      allowed_from: this.#from === undefined ? this.#answers.filter(isAllowed).map(({ from }) => from.text) : null,
      at: new Date(this.#about.at).toISOString(),
      opens:
        passed?.services.map(({ label, lifetimeSeconds, kind }) => ({ service: label, lifetime_seconds: lifetimeSeconds, kind })) ?? [],
      reason: refused?.reason ?? null,
      message: words?.message ?? null,
      cure: words?.cure ?? null,
      candidates:
        shown?.candidates.map(({ entry, reached, refusal }) => ({
          ...entryJson(entry),
          decides: reached,
          reason: refusal?.reason ?? null,
          message: refusal === undefined ? null : this.#words(shown, refusal, entry).message,
        })) ?? [],
    };
  }

  #words(shown: Answer, refusal: Extract<Answer['verdict'], { reason: unknown }>, entry: AllowEntry | undefined): Reason {
    return reasonWords(refusal, entry, { ...this.#about, from: shown.from });
  }

  /** Without --from, all that the rules tell apart was asked. */
  #where(): string {
    if (this.#from !== undefined) return this.#from.text;
    const allowed = this.#answers.filter(isAllowed);
    if (allowed.length === 0 || allowed.length === this.#answers.length) return 'anywhere';
    const networks = (this.#shown?.candidates ?? []).flatMap(({ entry, reached }) => (reached ? (entry.from ?? []) : []));
    const named = networks.filter((network) => allowed.some(({ from }) => contains(network, from)));
    return named.length === 0
      ? `${allowed.length} of the ${this.#answers.length} places that the rules tell apart (use --from)`
      : `${named.map(({ text }) => text).join(', ')} only`;
  }
}

function describe(entry: AllowEntry): string {
  return `${at(entry.place)}: ${entry.services.map(({ name }) => name).join(' ')} (${conditionsOf(entry).join('; ')})`;
}

function at({ file, line }: { readonly file: string; readonly line: number }): string {
  return `${safeText(file, 300)}:${line}`;
}
