// One rule file, from its bytes to clients and allow entries; the files that it names are not opened. See yaml-oracle.ts.
import { readdirSync, readFileSync } from 'node:fs';
import { readYaml } from '../../../daemon/config/yaml-source.ts';
import type { Problem } from '../../../daemon/problem.ts';
import { readRuleFile } from '../../../daemon/rules/read-rule-file.ts';
import { windowEnd } from '../../../daemon/rules/time-window.ts';
import { unixMs } from '../../../protocol/brand.ts';
import { parsePortRange } from '../../../protocol/ports.ts';
import { hold } from '../hold.ts';
import { PROJECT } from '../project.ts';
import type { FuzzTarget } from '../target.ts';
import { holdProblems, PSK, SECRET } from '../yaml-oracle.ts';

const FILE = '/etc/postern/rules.d/a.yaml';
const NOW = unixMs(Date.UTC(2026, 10, 21, 12));
const HOUR_MS = 3_600_000;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFHf55FXmrvvT/aZrAM/WeIlCJuWb5n792ZCg49UXI4w';

const ssh = parsePortRange('tcp/22');
const CONFIG = { services: new Map([['ssh', ssh.ok ? [ssh.value] : []]]), defaultTtlSeconds: 30 };

async function run(input: Uint8Array): Promise<string> {
  const problems: Problem[] = [];
  const source = readYaml(FILE, input);
  // Hooks are taken as good: whether the program is there is not about the text.
  const draft = await readRuleFile({ path: FILE, source }, CONFIG, async () => undefined, problems);
  holdProblems(problems, FILE, Buffer.from(input).toString('utf8'));
  for (const { name, slots, expiresAtMs } of draft.clients) {
    hold(/^[A-Za-z0-9_@][A-Za-z0-9._@-]{0,63}$/.test(name), () => `a client called ${JSON.stringify(name)}`);
    hold(slots >= 1 && slots <= 64, `${slots} slots`);
    hold(expiresAtMs === undefined || (Number.isSafeInteger(expiresAtMs) && expiresAtMs >= 0), `ends at ${expiresAtMs}`);
  }
  for (const { ttlSeconds, maxTtlSeconds, services, when, hooks } of draft.allow) {
    hold(ttlSeconds >= 1 && ttlSeconds <= maxTtlSeconds && maxTtlSeconds <= 365 * 86_400, `${ttlSeconds} to ${maxTtlSeconds} s`);
    hold(services.length > 0 && services.every(({ ports }) => ports.length > 0), 'an entry that gives nothing');
    for (const hook of [hooks.onOpen, hooks.onClose]) hold(hook === undefined || hook[0].startsWith('/'), 'a hook without a path');
    if (when === undefined) continue;
    const end = windowEnd(when, NOW, unixMs(NOW + HOUR_MS));
    hold(end === undefined || (end > NOW && end <= NOW + HOUR_MS), 'a window that ends elsewhere');
  }
  const wrong = problems.some(({ severity }) => severity === 'error');
  if (source.data === undefined) return wrong ? 'not YAML' : 'empty';
  if (wrong) return 'refused';
  return draft.clients.length + draft.refs.length > 0 && draft.allow.length > 0 ? 'accepted' : 'accepted, nothing in it';
}

const examples = readdirSync(`${PROJECT}rules`).filter((file) => file.endsWith('.yaml'));

export const target: FuzzTarget = {
  about: 'rule files',
  covers: [
    'daemon/rules/read-rule-file.ts',
    'daemon/rules/schema.ts',
    'daemon/rules/expiry.ts',
    'daemon/config/yaml-source.ts',
    'daemon/config/read-fields.ts',
  ],
  kind: 'text',
  maxBytes: 2500,
  seeds: [
    ...examples.map((file) => readFileSync(`${PROJECT}rules/${file}`)),
    `clients: [{name: a, key: ["${KEY}"], expires: 2027-01-01T00:00:00+14:00, psk_file: [p, q], slots: 64, enabled: false}, {ref: b}]\nallow: [{services: [ssh], from: [10.0.0.0/8, 10.0.0.0/9, 0.0.0.0/8], ttl: 10s, max_ttl: 1m, once: true, when: "* 8-17 * * 1-5", timezone: Asia/Kolkata, on_open: [/bin/true, "{client}"]}]\n`,
    `name: x\nclients:\n  - key: ${SECRET}\n    psk_file: ${SECRET}\n  - name: ${SECRET}\nallow:\n  - services: [${SECRET}]\n    on_open: [${SECRET}]\n`,
    `clients: [{name: a, key: ${PSK}, expires: ${PSK}, psk_file: ["${PSK}"]}]\nallow: [{services: ["${PSK}"], from: [${PSK}], when: ${PSK}, timezone: ${PSK}, ${PSK}: 1}]\n`,
  ],
  dictionary: [
    ': ',
    '\n  - ',
    '[',
    ']',
    '{',
    '}',
    '&a ',
    '*a',
    '"',
    "'",
    KEY,
    '1970-01-01T00:00:00Z',
    '+14:00',
    '-00:00',
    '30 2 * ',
    '*/5',
    'UTC',
    'Europe/Berlin',
  ],
  run,
  mustReach: ['not YAML', 'empty', 'refused', 'accepted'],
};
