// Writes docs/schema/ anew from the definitions in daemon/: node dist/scripts/schemas.js
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { jsonSchemas } from '../daemon/config/json-schema.ts';

for (const [name, text] of Object.entries(jsonSchemas()))
  writeFileSync(fileURLToPath(new URL(`../../docs/schema/${name}`, import.meta.url)), text);
