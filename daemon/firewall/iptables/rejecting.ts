// `refuse: reject`: iptables answers only from the filter table, so what the gate refuses is marked and rejected there; the security table, which
// comes after it, drops whatever a flush or another rule of the filter table would have let pass. Pure.
import type { Family } from '../../../protocol/address.ts';
import type { Names } from './names.ts';

/** "post": the whole mark, as the packet has no future. Compared whole, so that nobody's bits can be taken for it. */
export const REJECT_MARK = '0x706f7374';

export const REJECT_TABLES = ['security', 'filter'] as const;
export const REJECT_HOOKS = ['INPUT', 'FORWARD'] as const;

/** The chain of the gate in one of the two tables. */
export function rejectLines(table: (typeof REJECT_TABLES)[number], names: Names, family: Family): readonly string[] {
  const rules =
    table === 'security'
      ? ['-j DROP']
      : [
          '-p tcp -j REJECT --reject-with tcp-reset',
          `-j REJECT --reject-with ${family === 4 ? 'icmp-port-unreachable' : 'icmp6-port-unreachable'}`,
        ];
  return [`:${names.entry} - [0:0]`, ...rules.map((rule) => `-A ${names.entry} ${rule}`)];
}

export function rejectJump(names: Names): string {
  return `-m mark --mark ${REJECT_MARK} -j ${names.entry}`;
}
