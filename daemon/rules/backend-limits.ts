// What rules ask for that the firewall of this host cannot do: said where it stands, never faked. Pure.
import { type Problem, problemAt } from '../problem.ts';
import type { RuleBook } from './rulebook.ts';

/** An error where the configuration names the backend; a warning where this host chose it. */
export function backendLimits(backend: string, book: RuleBook, severity: Problem['severity']): readonly Problem[] {
  if (backend !== 'iptables') return [];
  const entries = book.clients.flatMap(({ allow }) => allow.filter((entry) => entry.once));
  const once = new Map(entries.map(({ place }) => [`${place.file} ${place.line} ${place.column}`, place]));
  return [...once.values()].map((place) =>
    problemAt(
      place,
      'one-shot grants (once: true) need nftables, and the gate is made by iptables: knocks for this entry are refused',
      'set firewall: nftables, or remove "once" here',
      severity,
    ),
  );
}
