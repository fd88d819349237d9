// `knock profiles`, `profiles show NAME`, `profiles remove NAME`: what is kept about servers.
import { fingerprint, formatPublicLine } from '../protocol/openssh.ts';
import { formatPortRange } from '../protocol/ports.ts';
import { clientPaths, expandHome } from './paths.ts';
import type { Profile } from './profile-fields.ts';
import { ProfileFile } from './profile-file.ts';
import { quote } from './quote.ts';
import { formatSource } from './source.ts';
import type { World } from './world.ts';

export type ProfilesOptions = { readonly config?: string; readonly json?: boolean };

export type ProfilesAction = { readonly kind: 'list' } | { readonly kind: 'show' | 'remove'; readonly name: string };

export function profilesCommand(action: ProfilesAction, options: ProfilesOptions, world: World): number {
  const path = options.config === undefined ? clientPaths(world).configFile : expandHome(options.config, world.home);
  const file = ProfileFile.open(path);
  const print = (value: object) => world.out(`${JSON.stringify(value)}\n`);
  switch (action.kind) {
    case 'list': {
      const all = [...file.profiles].map(([name, profile]) => asJson(name, profile));
      if (options.json === true) print({ ok: true, file: path, profiles: all });
      else if (all.length === 0) world.out(`no profiles in ${quote(path)} (knock add makes one from an invitation)\n`);
      else world.out(table(all.map(({ name, host, services }) => [name, host, services.join(' ')])));
      return 0;
    }
    case 'show': {
      const shown = asJson(action.name, file.get(action.name));
      if (options.json === true) print({ ok: true, file: path, ...shown });
      else world.out(table(Object.entries(shown).flatMap(([key, value]) => (isEmpty(value) ? [] : [[label(key), text(value)]]))));
      return 0;
    }
    case 'remove': {
      const { identity } = file.get(action.name);
      file.remove(action.name);
      file.save();
      if (options.json === true) print({ ok: true, file: path, removed: action.name });
      else world.out(`removed the profile ${action.name}${identity === undefined ? '' : ` (its key stays: ${quote(identity)})`}\n`);
      return 0;
    }
  }
}

function asJson(name: string, profile: Readonly<Profile>) {
  const { host, serverKey, identity, port, services, ttlSeconds, source, pskFile, slots, offers } = profile;
  return {
    name,
    host: host ?? name,
    serverKey: serverKey === undefined ? null : formatPublicLine(serverKey, ''),
    fingerprint: serverKey === undefined ? null : fingerprint(serverKey),
    identity: identity ?? null,
    port: port ?? null,
    services: services ?? [],
    ttlSeconds: ttlSeconds ?? null,
    source: source === undefined ? null : formatSource(source),
    pskFile: pskFile ?? null,
    slots: slots ?? null,
    offers: (offers ?? []).map((offer) => ({
      name: offer.name,
      ports: offer.ports.map(formatPortRange),
      once: offer.once,
      default: offer.byDefault,
    })),
  };
}

function isEmpty(value: unknown): boolean {
  return value === null || (Array.isArray(value) && value.length === 0);
}

function label(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function text(value: unknown): string {
  if (!Array.isArray(value)) return typeof value === 'string' ? shown(value) : String(value);
  return value
    .map((each: string | { readonly name: string; readonly ports: readonly string[]; readonly once: boolean }) =>
      typeof each === 'string'
        ? each
        : `${each.name}${each.ports.includes(each.name) ? '' : ` (${each.ports.join(' ')})`}${each.once ? ' once' : ''}`,
    )
    .join(', ');
}

function shown(value: string): string {
  return quote(value).slice(1, -1);
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => (row[at] ?? '').length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
