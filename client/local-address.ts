// Which addresses of this machine a knock leaves from, as `--via` and `--source` say. Asks the system which addresses it has; opens no socket.
import { networkInterfaces } from 'node:os';
import { type Family, type IpAddress, parseAddress } from '../protocol/address.ts';
import { usageError } from './command-error.ts';
import { quote } from './quote.ts';
import { isSenseless, type SourceMode } from './source.ts';

type OwnAddress = { readonly name: string; readonly address: IpAddress };

/**
 * At most one address for each family; none where the system chooses. An address that `--source` names is sent from if it is this machine's.
 * An interface stands for its address: the system's routes then decide by that, as no program without native code can name the device.
 */
export function localAddresses(via: string | undefined, source: SourceMode): readonly IpAddress[] {
  if (via === undefined) {
    // Most knocks name nothing, and asking costs milliseconds.
    if (source.kind !== 'address') return [];
    const named = ownAddresses().find(({ address }) => address.text === source.address.text);
    return named === undefined ? [] : [named.address];
  }
  const own = ownAddresses();
  const literal = parseAddress(via);
  if (literal.ok) {
    const found = own.find(({ address }) => address.text === literal.value.text);
    if (found === undefined) throw usageError([`--via: ${literal.value.text} is not an address of this machine${known(own)}`]);
    return [found.address];
  }
  const usable = own.filter(({ name, address }) => name === via && !isSenseless(address));
  const chosen = ([4, 6] as const).flatMap((family) => usable.find(({ address }) => address.family === family)?.address ?? []);
  if (chosen.length > 0) return chosen;
  const there = own.some(({ name }) => name === via);
  throw usageError([
    there
      ? `--via: the interface ${quote(via)} has no address that a server could see`
      : `--via: ${quote(via)} is neither an interface that is up here nor an address${known(own)}`,
  ]);
}

/** The one to send from towards an address of this family; undefined: the system's choice. */
export function localAddressFor(chosen: readonly IpAddress[], family: Family): IpAddress | undefined {
  return chosen.find((address) => address.family === family);
}

function known(own: readonly OwnAddress[]): string {
  const names = [...new Set(own.map(({ name }) => name))];
  return ` (interfaces here: ${quote(names.join(', ')).slice(1, -1)})`;
}

function ownAddresses(): readonly OwnAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, entries]) =>
    (entries ?? []).flatMap((entry) => {
      const address = parseAddress(entry.address.split('%', 1)[0] ?? '');
      return address.ok ? [{ name, address: address.value }] : [];
    }),
  );
}
