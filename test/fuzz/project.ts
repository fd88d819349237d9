// Where the project is, for what runs in dist/test, bundled targets included.
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(import.meta.url);

/** With a separator at its end. */
export const PROJECT = HERE.slice(0, HERE.lastIndexOf(`${sep}dist${sep}test${sep}`) + 1);
