// Bundles the client, because starting is most of what `knock` spends its time on (docs/decisions: "One file for the client").
// Decides only how it is packed: dist/client/main.js does the same, more slowly.
import { chmodSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const dist = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** The reader of profiles brings the YAML parser, half of all code: it stays a file of its own, for those who have profiles. */
const profilesApart: Plugin = {
  name: 'profiles-apart',
  setup: ({ onResolve }) => onResolve({ filter: /^\.\/profile\.js$/ }, () => ({ path: './profile.cjs', external: true })),
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
  logLevel: 'warning',
};

await build({ ...common, entryPoints: [dist('client/main.js')], outfile: dist('client/knock.cjs'), plugins: [profilesApart] });
await build({ ...common, entryPoints: [dist('client/profile.js')], outfile: dist('client/profile.cjs') });
chmodSync(dist('client/knock.cjs'), 0o755);
