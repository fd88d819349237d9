// An editor with the shipped schemas sees what the loaders see: nothing wrong in files that are right, and the line of each mistake.
// The YAML language server, which is what editors ask, reads the files of docs/schema/.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { parseProfiles } from '../../client/profile.ts';
import { PROFILE_SCHEMA } from '../../client/profile-schema.ts';
import { jsonSchemas } from '../../daemon/config/json-schema.ts';
import { keysOf, type SchemaNode } from '../../shell/schema-page.ts';
import { LanguageServer } from '../lab/language-server.ts';

const PROJECT = new URL('../../../', import.meta.url);
const schemaLine = (name: string) => `# yaml-language-server: $schema=${new URL(`docs/schema/${name}`, PROJECT).href}\n`;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKnSBRHr3GtcNrWAhV5vD5rgbclmnDVS5qOBwSpKFl5j alice@laptop';

type Mistake = { readonly text: string; readonly schema: string; readonly yaml: string; readonly line: number; readonly says: RegExp };

const MISTAKES: readonly Mistake[] = [
  { text: 'an unknown key', schema: 'postern', yaml: 'port: 62201\nprotects: [ssh]\n', line: 3, says: /protects is not allowed/ },
  { text: 'a port out of range', schema: 'postern', yaml: 'port: 70000\n', line: 2, says: /maximum|65535/ },
  { text: 'a backend nobody has', schema: 'postern', yaml: 'firewall: pf\n', line: 2, says: /nftables/ },
  { text: 'a port without a protocol', schema: 'postern', yaml: 'protect:\n  - 22\n', line: 3, says: /string|type/ },
  {
    text: 'an unknown key of a client',
    schema: 'rules',
    yaml: 'clients:\n  - name: alice\n    keys: x\n',
    line: 4,
    says: /keys is not allowed/,
  },
  { text: 'a duration without a unit', schema: 'rules', yaml: 'allow:\n  - services: [ssh]\n    ttl: 30\n', line: 4, says: /string|type/ },
  { text: 'an RSA key', schema: 'rules', yaml: 'clients:\n  - name: alice\n    key: ssh-rsa AAAA\n', line: 4, says: /pattern/ },
  { text: 'an allow entry for nothing', schema: 'rules', yaml: 'allow:\n  - ttl: 30s\n', line: 3, says: /services/ },
  { text: 'an unknown key of a profile', schema: 'knock', yaml: 'profiles:\n  web1:\n    hots: a\n', line: 4, says: /hots is not allowed/ },
  { text: 'a profile with a port out of range', schema: 'knock', yaml: 'profiles:\n  web1:\n    port: 0\n', line: 4, says: /minimum|1/ },
  { text: 'a profile with a wrong lifetime', schema: 'knock', yaml: 'profiles:\n  web1:\n    ttl: 5 minutes\n', line: 4, says: /pattern/ },
];

const PROFILES = `profiles:
  web1:
    host: web1.example.org
    server_key: ${KEY}
    identity: ~/.ssh/id_ed25519
    port: 62201
    services: [ssh, tcp/8443]
    ttl: 5m
    source: auto
    psk_file: ~/.config/knock/web1.psk
    slots: 64
`;

describe('the schemas for editors', () => {
  let server: LanguageServer;
  before(async () => {
    server = await LanguageServer.start();
  });
  after(() => server.close());

  for (const file of readdirSync(new URL('rules/', PROJECT)).filter((name) => /\.yaml(\.example)?$/.test(name))) {
    const schema = file.startsWith('postern.yaml') ? 'postern' : 'rules';
    it(`find nothing wrong in rules/${file}`, async () => {
      const text = readFileSync(new URL(`rules/${file}`, PROJECT), 'utf8');
      assert.deepEqual(await server.check(`${schemaLine(`${schema}.schema.json`)}${text}`), []);
    });
  }

  it('find nothing wrong in profiles that knock reads', async () => {
    assert.deepEqual(parseProfiles(PROFILES, 'config.yaml').problems, []);
    assert.deepEqual(await server.check(`${schemaLine('knock.schema.json')}${PROFILES}`), []);
  });

  for (const { text, schema, yaml, line, says } of MISTAKES) {
    it(`underline ${text}`, async () => {
      const found = await server.check(`${schemaLine(`${schema}.schema.json`)}${yaml}`);
      assert.ok(
        found.some((one) => one.line === line && says.test(one.message)),
        JSON.stringify(found),
      );
      if (schema === 'knock') assert.notDeepEqual(parseProfiles(yaml, 'config.yaml').problems, []);
    });
  }

  it('know each key of a profile that knock reads, and no other', () => {
    const known = keysOf(PROFILE_SCHEMA.properties.profiles.anyOf[0].additionalProperties as SchemaNode).map(({ key }) => key);
    const [problem = ''] = parseProfiles('profiles: { web1: { "?": 1 } }', 'config.yaml').problems;
    const read = /known: (.*)\)/.exec(problem)?.[1]?.split(', ') ?? [];
    assert.deepEqual([...known].sort(), [...read].sort());
  });

  it('knock.schema.json is what the definition says now (else run: node dist/scripts/schemas.js)', () => {
    const shipped: unknown = JSON.parse(readFileSync(new URL('docs/schema/knock.schema.json', PROJECT), 'utf8'));
    assert.deepEqual(shipped, JSON.parse(JSON.stringify(PROFILE_SCHEMA)));
  });

  it('say of each key what it means', () => {
    for (const text of [...Object.values(jsonSchemas()), JSON.stringify(PROFILE_SCHEMA)]) {
      const mute = keysOf(JSON.parse(text) as SchemaNode).filter(({ node }) => (node.description ?? '') === '');
      assert.deepEqual(
        mute.map(({ key }) => key),
        [],
      );
    }
  });
});
