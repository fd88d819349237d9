// Packs the client, because starting is most of what `knock` spends its time on (docs/decisions/040-client-start.md).
// Decides only how it is packed: dist/client/main.js does the same, more slowly.
//
//   knock.cjs            what users run: finds its body, and V8's code for it
//   bundle-HASH.js       the body: main.js and all that a plain knock needs, in one text
//   bundle-HASH-NODE.v8  what V8 made of the body while it knocked once; another version of node does without
//   profile.cjs          profiles (yaml), in the same three parts: bundle-profile-HASH …
//   program.cjs, …       the full command line (commander) and more, each loaded when it is needed
import { execFile } from 'node:child_process';
import * as crypto from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { secretFromSeed } from '../protocol/identity.ts';
import { formatPrivateKey, formatPublicLine } from '../protocol/openssh.ts';

const CLIENT = fileURLToPath(new URL('../client', import.meta.url));
const APART = [
  'add-command',
  'ask-stun',
  'ask-time',
  'completing',
  'doctor',
  'hold-command',
  'host-clock',
  'profile',
  'profiles-command',
  'program',
];

/** These stay files of their own. `import()` of them becomes a `require` in its place. */
const apart: Plugin = {
  name: 'apart',
  setup: ({ onResolve }) =>
    onResolve({ filter: new RegExp(`^\\./(${APART.join('|')})\\.js$`) }, ({ path, kind }) =>
      kind === 'dynamic-import' ? { path: path.replace(/\.js$/, '.cjs'), external: true } : undefined,
    ),
};

/**
 * node:crypto takes a tenth of a start to load. In the body it is loaded by the first use of one of its functions: a door that is open already
 * comes to none.
 */
const late: Plugin = {
  name: 'late',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^node:crypto$/ }, ({ path, kind }) => (kind === 'import-statement' ? { path, namespace: 'late' } : undefined));
    onLoad({ filter: /^node:crypto$/, namespace: 'late' }, () => ({
      contents: Object.entries(crypto)
        .filter(([name, value]) => typeof value === 'function' && /^[a-z]\w*$/.test(name))
        .map(([name]) => `export const ${name} = (...given) => require('node:crypto').${name}(...given);`)
        .join('\n'),
    }));
  },
};

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  // CommonJS: node's loader of ES modules alone costs 5 ms.
  format: 'cjs',
  target: 'node20',
  // Smaller text is read faster; names stay, so that a stack trace means something.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  // protocol/openssh-cipher.ts loads bcrypt by `createRequire(import.meta.url)`, from node_modules, only when a key has a passphrase.
  // Making a URL of the path would cost each start 0.3 ms.
  define: { 'import.meta.url': '__filename' },
  supported: { 'dynamic-import': false },
  logLevel: 'warning',
};

for (const old of readdirSync(CLIENT)) if (/^bundle-|\.cjs$/.test(old)) rmSync(join(CLIENT, old));
// Loaded by every knock of somebody who keeps profiles: packed as the body is, with V8's code.
const KEPT = 'profile';
for (const name of APART.filter((each) => each !== KEPT))
  await build({ ...common, entryPoints: [join(CLIENT, `${name}.js`)], outfile: join(CLIENT, `${name}.cjs`) });
const name = await packBody('main', 'bundle');
const profile = await packBody(KEPT, `bundle-${KEPT}`);
writeFileSync(join(CLIENT, 'knock.cjs'), launcher(name, ''));
chmodSync(join(CLIENT, 'knock.cjs'), 0o755);
await keepCode();
writeFileSync(join(CLIENT, `${KEPT}.cjs`), launcher(profile, ''));

/** One text that a launcher runs as the body of its module. Gives the name of its file. */
async function packBody(entry: string, prefix: string): Promise<string> {
  const bundle = await build({
    ...common,
    entryPoints: [join(CLIENT, `${entry}.js`)],
    outfile: 'body.cjs',
    plugins: [apart, late],
    write: false,
  });
  const code = (bundle.outputFiles[0]?.text ?? '').replace(/^#!.*\n/, '');
  const body = `(function(require,module,exports,__filename,__dirname){${code}\n})`;
  // The launcher reads it as Latin-1, a byte for a letter, which V8 takes without a second look.
  if (/[^\0-\x7f]/.test(body)) throw new Error(`bundle: the body of ${entry} is not ASCII`);
  // V8 compares the length of the text only: the hash in the names keeps a body and another body's code apart.
  const base = `${prefix}-${crypto.createHash('sha256').update(body).digest('hex').slice(0, 16)}`;
  writeFileSync(join(CLIENT, `${base}.js`), body);
  return base;
}

/** The file that holds V8's code for a body. */
function codeOf(base: string): string {
  return join(CLIENT, `${base}-${process.version}-${process.arch}.v8`);
}

/** The text of knock.cjs and of profile.cjs. `atEnd` is for the one run that makes the code. */
function launcher(base: string, atEnd: string): string {
  return `#!/usr/bin/env node
'use strict';
const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');
const base = ${JSON.stringify(base)};
const filename = __dirname + "/" + base + ".js";
let cachedData;
try {
  cachedData = readFileSync(filename.slice(0, -3) + '-' + process.version + '-' + process.arch + '.v8');
} catch {}
const script = new Script(readFileSync(filename, 'latin1'), { filename, cachedData });
${atEnd}script.runInThisContext()(require, module, exports, filename, __dirname);
`;
}

/**
 * Knocks at an open port of this machine's loopback and then connects through `knock proxy`, by somebody with a profile of another host, and keeps what
 * V8 has compiled by then. The first time the profile is one that only the YAML reader reads.
 */
async function keepCode(): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'postern-bundle-'));
  const maker = join(CLIENT, 'bundle-maker.cjs');
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    mkdirSync(join(home, '.ssh'));
    writeFileSync(join(home, '.ssh', 'id_ed25519'), formatPrivateKey(secretFromSeed(crypto.randomBytes(32)), 'bundle'), { mode: 0o600 });
    const serverLine = formatPublicLine(secretFromSeed(crypto.randomBytes(32)).publicKey, 'bundle');
    writeFileSync(join(home, '.ssh', 'known_hosts'), `127.0.0.1 ${serverLine}\n`);
    mkdirSync(join(home, '.config', 'knock'), { recursive: true });
    const fields = `host: 192.0.2.1\n    server_key: ${serverLine}\n    services: [ssh, tcp/8443]\n    offers:\n      ssh: { ports: [tcp/22], default: true }\n`;
    const configuration = (remark: string) =>
      writeFileSync(join(home, '.config', 'knock', 'config.yaml'), `# servers\nprofiles:${remark}\n  other:\n    ${fields}`);
    const keep = (base: string) =>
      `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(codeOf(base))}, script.createCachedData()));\n`;
    writeFileSync(maker, launcher(name, keep(name)));
    writeFileSync(join(CLIENT, `${KEPT}.cjs`), launcher(profile, keep(profile)));
    for (const { remark, words } of [
      { remark: ' # mine', words: ['127.0.0.1', `tcp/${port}`] },
      { remark: '', words: ['proxy', '127.0.0.1', String(port)] },
    ]) {
      configuration(remark);
      // The knock goes to the discard port of loopback.
      const trouble = await new Promise<string | undefined>((resolve) => {
        const options = { env: { HOME: home }, timeout: 20_000 };
        const made = execFile(process.execPath, [maker, ...words, '-p', '9'], options, (error) => resolve(error?.message));
        made.stdin?.end();
      });
      if (trouble === undefined) continue;
      // Without the kept code everything works, only more slowly.
      for (const base of [name, profile]) rmSync(codeOf(base), { force: true });
      process.stderr.write(`bundle: no code was kept, knock will start more slowly: ${trouble}\n`);
      break;
    }
  } finally {
    server.close();
    rmSync(home, { recursive: true, force: true });
    rmSync(maker, { force: true });
  }
}
