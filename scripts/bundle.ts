// Bundles the client, because starting is most of what `knock` spends its time on (docs/decisions: "One file for the client").
// Decides only how it is packed: dist/client/main.js does the same, more slowly.
import { chmodSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const dist = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** What most knocks do not need, and what would be most of the code: the YAML parser of profiles, and commander. */
const APART = ['profile', 'program'];

/** These stay files of their own, which are loaded by `import()` when they are needed. */
const apart: Plugin = {
  name: 'apart',
  setup: ({ onResolve }) =>
    onResolve({ filter: new RegExp(`^\\./(${APART.join('|')})\\.js$`) }, ({ path, kind }) =>
      kind === 'dynamic-import' ? { path: path.replace(/\.js$/, '.cjs'), external: true } : undefined,
    ),
};

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  // CommonJS: node's loader for ES modules alone costs 5 ms.
  format: 'cjs',
  target: 'node20',
  // Smaller text is read faster; names stay, so that a stack trace means something.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  // protocol/openssh-cipher.ts loads bcrypt by `createRequire(import.meta.url)`, from node_modules, only when a key has a passphrase.
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: 'const bundleUrl = require("node:url").pathToFileURL(__filename).href;' },
  // Without this, node loads its whole loader of ES modules for one import().
  supported: { 'dynamic-import': false },
  logLevel: 'warning',
};

await build({ ...common, entryPoints: [dist('client/main.js')], outfile: dist('client/knock.cjs'), plugins: [apart] });
for (const name of APART) await build({ ...common, entryPoints: [dist(`client/${name}.js`)], outfile: dist(`client/${name}.cjs`) });
chmodSync(dist('client/knock.cjs'), 0o755);
