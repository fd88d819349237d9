// Writes protocol/vectors.json. Run after a build: node dist/scripts/vectors.js
import { writeFileSync } from 'node:fs';
import { vectorsContent } from './vectors-content.ts';

writeFileSync(new URL('../../protocol/vectors.json', import.meta.url), `${JSON.stringify(vectorsContent(), null, 2)}\n`);
