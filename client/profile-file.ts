// Changes the client's configuration as a person would: comments, order and everything that is not meant stay. Written whole or not at all.
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { type Document, isMap, isScalar, type Node, parseDocument } from 'yaml';
import { CommandError, usageError } from './command-error.ts';
import { parseProfiles } from './profile.ts';
import type { Profile } from './profile-fields.ts';
import { nearest, quote } from './quote.ts';

/** What stands under one name, in YAML's own terms. An undefined field is taken away. */
export type ProfileFields = Readonly<Record<string, unknown>>;

export class ProfileFile {
  readonly path: string;
  readonly profiles: ReadonlyMap<string, Readonly<Profile>>;
  readonly #document: Document;
  readonly #exists: boolean;
  /** Whether its writer writes `[ a, b ]` rather than `[a, b]`. */
  readonly #padded: boolean;

  private constructor(path: string, text: string | undefined) {
    this.path = path;
    this.#exists = text !== undefined;
    this.#padded = /[[{] /.test(text ?? '');
    const { profiles, problems } = parseProfiles(text ?? '', path);
    if (problems.length > 0) throw usageError(problems);
    this.profiles = profiles;
    this.#document = parseDocument(text ?? '', { version: '1.2', stringKeys: true });
  }

  /** A file that is not there is an empty one; one that is wrong is not touched. */
  static open(path: string): ProfileFile {
    try {
      return new ProfileFile(path, readFileSync(path, 'utf8'));
    } catch (cause) {
      const code = errorCode(cause);
      if (code === undefined) throw cause;
      if (code === 'ENOENT' || code === 'ENOTDIR') return new ProfileFile(path, undefined);
      throw new CommandError(code === 'EACCES' ? 3 : 2, 'config-unreadable', `cannot read the configuration ${quote(path)} (${code})`);
    }
  }

  /** The profile of that name, or an error that says which was probably meant. */
  get(name: string): Readonly<Profile> {
    const profile = this.profiles.get(name);
    if (profile !== undefined) return profile;
    const names = [...this.profiles.keys()];
    const meant = nearest(name, names);
    const advice =
      meant !== undefined
        ? `did you mean ${quote(meant)}?`
        : names.length === 0
          ? 'there is none'
          : `there are: ${names.slice(0, 8).join(', ')}`;
    throw new CommandError(2, 'profile-unknown', `no profile ${quote(name)} in ${quote(this.path)}: ${advice}`);
  }

  /** Changes these fields and leaves the others of the profile as they are. */
  set(name: string, fields: ProfileFields): void {
    const document = this.#document;
    if (!isMap(document.contents)) document.contents = document.createNode({}) as never;
    if (!isMap(document.get('profiles'))) document.set('profiles', document.createNode({}));
    const profiles = document.get('profiles');
    // An empty map written as {} would keep its braces around everything.
    if (isMap(profiles) && profiles.items.length === 0) profiles.flow = false;
    if (!document.hasIn(['profiles', name])) document.setIn(['profiles', name], document.createNode({}));
    const profile = document.getIn(['profiles', name]);
    if (isMap(profile) && profile.items.length === 0) profile.flow = false;
    for (const [key, value] of Object.entries(fields)) {
      if (value === undefined) document.deleteIn(['profiles', name, key]);
      else document.setIn(['profiles', name, key], inline(document.createNode(value)));
    }
  }

  remove(name: string): void {
    this.get(name);
    this.#document.deleteIn(['profiles', name]);
  }

  /** Checks what would be written first: a mistake of ours must not cost anybody a file. */
  save(): void {
    const text = this.#document.toString({ lineWidth: 0, flowCollectionPadding: this.#padded });
    const { problems } = parseProfiles(text, this.path);
    if (problems.length > 0) throw new TypeError(`the changed configuration would be wrong: ${problems.join('; ')}`);
    try {
      // A link (to a repository of settings, say) stays one.
      const target = this.#exists ? realpathSync(this.path) : this.path;
      const mode = this.#exists ? statSync(target).mode & 0o777 : 0o600;
      mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
      replaceFile(target, text, mode);
    } catch (cause) {
      const code = errorCode(cause);
      if (code === undefined) throw cause;
      throw new CommandError(
        code === 'EACCES' || code === 'EPERM' ? 3 : 1,
        'config-unwritable',
        `cannot write ${quote(this.path)} (${code}): nothing was changed`,
      );
    }
  }
}

/** `[a, b]` and `{ ports: [tcp/22] }` on one line each; a map of maps one line for each entry. */
function inline(node: Node): Node {
  if (isMap(node) && node.items.some(({ value }) => isMap(value))) for (const { value } of node.items) inline(value as Node);
  else if (!isScalar(node)) (node as Node & { flow?: boolean }).flow = true;
  return node;
}

function replaceFile(path: string, text: string, mode: number): void {
  const fresh = `${path}.new-${process.pid}`;
  const descriptor = openSync(fresh, 'wx', mode);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
    closeSync(descriptor);
    renameSync(fresh, path);
  } catch (cause) {
    unlinkSync(fresh);
    throw cause;
  }
}

function errorCode(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' && /^E[A-Z]+$/.test(cause.code)
    ? cause.code
    : undefined;
}
