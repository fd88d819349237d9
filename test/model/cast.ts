// Who and what the model and the real daemon are about: people, addresses, services and the rules that give them. Data only.

export const PEOPLE = ['alice', 'bob'] as const;
export type Person = (typeof PEOPLE)[number];

export const KNOCK_PORT = 62201;
/** The port that a knock for one source port names. */
export const SOURCE_PORT = 4444;

/** Lifetimes in seconds: one that ends while a history lasts, one that does not, and one that no rule gives. */
export const SHORT_S = 3;
export const LONG_S = 3600;
export const TOO_LONG_S = 30 * 86_400;
/** `default_ttl`, for what is granted by hand. */
export const DEFAULT_S = 1800;

type Service = {
  readonly protocol: 'tcp' | 'udp';
  readonly ports: readonly number[];
  readonly ttlS: number;
  readonly maxTtlS: number;
  /** Given to a knock that names nothing. */
  readonly isDefault: boolean;
  readonly once?: true;
  readonly ends?: true;
  /** Only from the first address of each family, and only to a bound knock. */
  readonly near?: true;
};

export const SERVICES = {
  shell: { protocol: 'tcp', ports: [8022], ttlS: 1200, maxTtlS: 2 * LONG_S, isDefault: true },
  names: { protocol: 'udp', ports: [8053], ttlS: LONG_S, maxTtlS: 2 * LONG_S, isDefault: true },
  panel: { protocol: 'tcp', ports: [8023], ttlS: SHORT_S, maxTtlS: LONG_S, isDefault: false, ends: true },
  pool: { protocol: 'tcp', ports: [9000, 9001], ttlS: LONG_S, maxTtlS: LONG_S, isDefault: false },
  single: { protocol: 'tcp', ports: [9010], ttlS: LONG_S, maxTtlS: LONG_S, isDefault: false, once: true },
  near: { protocol: 'tcp', ports: [9020], ttlS: LONG_S, maxTtlS: LONG_S, isDefault: false, near: true },
} as const satisfies Record<string, Service>;
export type ServiceName = keyof typeof SERVICES;
export const SERVICE_NAMES = Object.keys(SERVICES) as readonly ServiceName[];

export function serviceOf(name: ServiceName): Service {
  return SERVICES[name];
}

/** Two addresses of each family. The first of each is near. */
export type Addresses = readonly [near4: string, far4: string, near6: string, far6: string];

/** What the rule file says: how each person stands in it, and which entries are missing or give less. */
export type Rules = {
  readonly people: Readonly<Record<Person, 'in' | 'disabled' | 'out'>>;
  readonly missing: readonly ServiceName[];
  /** `max_ttl` of everything is SHORT_S. */
  readonly isStingy: boolean;
  /** Nobody can read it. */
  readonly isBroken: boolean;
};

/** All that this firewall can do. */
export function allRules({ oneShots }: { readonly oneShots: boolean }): Rules {
  return { people: { alice: 'in', bob: 'in' }, missing: oneShots ? [] : ['single'], isStingy: false, isBroken: false };
}

export function portsText(name: ServiceName): string {
  const { protocol, ports } = serviceOf(name);
  return `${protocol}/${ports.join('-')}`;
}
