// `firewall: none`: decides and logs, opens nothing. For trying rules out beside another tool.
import type { Firewall } from './firewall.ts';

export function noFirewall(): Firewall {
  return {
    name: 'none',
    install: async () => ({ fresh: false }),
    intact: async () => true,
    watch: () => undefined,
    open: () => undefined,
    close: async () => undefined,
    standing: async () => [],
    arm: async () => undefined,
    disarm: async () => undefined,
    disarmAll: async () => undefined,
    counters: async () => ({ knocks: 0, junk: 0, refused: 0, ended: 0 }),
    remove: async () => undefined,
    release: async () => undefined,
  };
}
