// Writes the manual pages to dist/man/, from the definitions that both commands and both loaders use: node dist/scripts/man.js
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { knockProgram } from '../client/program.ts';
import { VERSION } from '../client/version.ts';
import { jsonSchemas } from '../daemon/config/json-schema.ts';
import { posterndProgram } from '../daemon/program/program.ts';
import { commandPage } from '../shell/man-page.ts';
import { filePage, type SchemaNode } from '../shell/schema-page.ts';
import { CONFIG_FACTS, KNOCK_FACTS, overview, POSTERND_FACTS, RULES_FACTS } from './man-text.ts';

// Of the words below, not of the day of the build: the same source gives the same pages.
const DATE = '2026-11-21';
const PROJECT = new URL('../../', import.meta.url);

const lines = (path: string) => readFileSync(new URL(path, PROJECT), 'utf8').trimEnd().split('\n');
const schema = (name: string) => JSON.parse(jsonSchemas()[name] ?? '{}') as SchemaNode;
const common = { date: DATE, version: VERSION };

const pages: Readonly<Record<string, string>> = {
  'knock.1': commandPage(knockProgram(), { ...KNOCK_FACTS, ...common }),
  'posternd.8': commandPage(posterndProgram(), { ...POSTERND_FACTS, ...common }),
  'postern.yaml.5': filePage(schema('postern.schema.json'), { ...CONFIG_FACTS, ...common, example: lines('rules/postern.yaml.example') }),
  'postern-rules.5': filePage(schema('rules.schema.json'), { ...RULES_FACTS, ...common, example: lines('rules/office-hours.yaml') }),
  'postern.7': overview(DATE, VERSION),
};

const folder = fileURLToPath(new URL('dist/man/', PROJECT));
mkdirSync(folder, { recursive: true });
for (const [name, text] of Object.entries(pages)) writeFileSync(`${folder}${name}`, text);
