// The JSON Schemas of both files, for editors, from the very definitions that the loaders validate with. Pure.
import { z } from 'zod';
import { ruleFileSchema } from '../rules/schema.ts';
import { configSchema } from './schema.ts';

/** What docs/schema/ holds, by file name. A test compares both. */
export function jsonSchemas(): Readonly<Record<string, string>> {
  return {
    'postern.schema.json': asText(configSchema, 'postern.yaml'),
    'rules.schema.json': asText(ruleFileSchema, 'A rule file of Postern'),
  };
}

/** As the file is written, before any value is interpreted. */
function asText(schema: z.ZodType, title: string): string {
  return `${JSON.stringify({ title, ...z.toJSONSchema(schema, { io: 'input' }) }, null, 2)}\n`;
}
