// The rule file that a history writes: who stands in it, and what is given. Pure.
import type { PublicKey } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { type Addresses, PEOPLE, type Person, type Rules, SERVICE_NAMES, SHORT_S, serviceOf } from './cast.ts';

/** `somebody` asks for nothing: with this person a file without anybody is not refused, and it can be seen that the daemon hears. */
export function ruleFile(
  rules: Rules,
  [near4, , near6]: Addresses,
  keys: Readonly<Record<Person | 'somebody', PublicKey>>,
): Readonly<Record<string, unknown>> {
  const clients = PEOPLE.filter((person) => rules.people[person] !== 'out').map((person) => ({
    name: person,
    key: formatPublicLine(keys[person], person),
    slots: 32,
    enabled: rules.people[person] === 'in',
  }));
  const allow = SERVICE_NAMES.filter((name) => !rules.missing.includes(name)).map((name) => {
    const { ttlS, maxTtlS, isDefault, once, ends, near } = serviceOf(name);
    const most = rules.isStingy ? SHORT_S : maxTtlS;
    return {
      services: [name],
      ttl: rules.isBroken ? 'soon' : `${Math.min(ttlS, most)}s`,
      max_ttl: `${most}s`,
      default: isDefault,
      ...(once === true ? { once: true } : {}),
      ...(ends === true ? { sessions: 'end' } : {}),
      ...(near === true ? { from: [`${near4}/32`, `${near6}/128`], require_source: true } : {}),
    };
  });
  const somebody = { name: 'somebody', key: formatPublicLine(keys.somebody, 'somebody'), slots: 64 };
  return { name: 'people', clients: [...clients, somebody], allow };
}
