// Makes package-lock.json complete and free of addresses: a registry mirror without other platforms' packages
// leaves their entries out, and `npm ci` then refuses the file everywhere. Run after each change of dependencies.
import { readFileSync, writeFileSync } from 'node:fs';

const SYSTEMS = ['win32', 'darwin', 'linux', 'android', 'freebsd', 'openbsd', 'netbsd', 'sunos', 'aix', 'openharmony'];
const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));

for (const [path, entry] of Object.entries(lock.packages)) {
  delete entry.resolved;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (present(path, name)) continue;
    lock.packages[`node_modules/${name}`] = { version, ...platform(name), ...(entry.dev ? { dev: true } : {}), optional: true };
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);

/** npm's own lookup: the nearest node_modules upward. */
function present(from, name) {
  for (let base = from; ; base = base.includes('/node_modules/') ? base.slice(0, base.lastIndexOf('/node_modules/')) : '') {
    if (lock.packages[`${base === '' ? '' : `${base}/`}node_modules/${name}`] !== undefined) return true;
    if (base === '') return false;
  }
}

/** The registry would tell os and cpu; without the package only its name does. */
function platform(name) {
  const tail = name.replace(/^.*\//, '');
  const os = SYSTEMS.find((system) => tail.includes(system));
  const cpu = /(arm64|arm|ia32|x64|riscv64|ppc64|s390x)/.exec(tail)?.[1];
  return { ...(cpu ? { cpu: [cpu] } : {}), ...(os ? { os: [os] } : {}), ...(tail.includes('musl') ? { libc: ['musl'] } : {}) };
}
