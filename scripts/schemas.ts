// Writes docs/schema/ anew from the definitions in daemon/ and client/: node dist/scripts/schemas.js
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PROFILE_SCHEMA } from '../client/profile-schema.ts';
import { jsonSchemas } from '../daemon/config/json-schema.ts';

const schemas = { ...jsonSchemas(), 'knock.schema.json': `${JSON.stringify(PROFILE_SCHEMA, null, 2)}\n` };
for (const [name, text] of Object.entries(schemas))
  writeFileSync(fileURLToPath(new URL(`../../docs/schema/${name}`, import.meta.url)), text);
