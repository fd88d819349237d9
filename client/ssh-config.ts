// Reads the few settings of ssh_config(5) that say where a host is and which keys belong to it. Pure: files come by an argument.
// Runs nothing: a `Match exec` never holds. Settings that a knock does not need are passed over, as are criteria it does not know.
import { matchesPattern } from '../protocol/known-hosts.ts';
import { quote } from './quote.ts';

/** As the files say it: tokens and `~` are not replaced. */
export type SshSettings = {
  hostName?: string;
  port?: number;
  family?: 4 | 6 | 'any';
  user?: string;
  hostKeyAlias?: string;
  proxyJump?: string;
  userKnownHosts?: readonly string[];
  globalKnownHosts?: readonly string[];
  readonly identityFiles: string[];
};

/** `ofUser`: from ~/.ssh/config or what that includes, not from the system's. */
export type SshConfigFile = { readonly path: string; readonly text: string; readonly ofUser: boolean };

export type SshQuestion = {
  /** The host as it was typed. */
  readonly host: string;
  readonly localUser: () => string;
  /** A HostName that stands before those in the files, as `ssh -o HostName=…`. */
  readonly hostName: string | undefined;
  /** Replaces `%h` in a HostName; throws a problem's text for another token. */
  readonly expandHostName: (text: string) => string;
  /** The files that an Include in `from` names, in order. */
  readonly include: (pattern: string, from: SshConfigFile) => readonly SshConfigFile[];
};

export type SshAnswer = { readonly settings: SshSettings; readonly problems: readonly string[]; readonly remarks: readonly string[] };

// Fixed by OpenSSH (READCONF_MAX_DEPTH).
const MAX_DEPTH = 16;

/** What the files say of the host: the first value counts, as in ssh; IdentityFile gathers all. */
export function readSshConfig(files: readonly SshConfigFile[], question: SshQuestion): SshAnswer {
  const reading = new Reading(question, question.host, false);
  for (const file of files) reading.read(file, 0);
  if (reading.sawFinal) {
    // ssh_config(5): `Match final` reads the files once more, with the name that was found.
    const again = new Reading(question, reading.hostName(), true, reading);
    for (const file of files) again.read(file, 0);
  }
  return { settings: reading.settings, problems: [...new Set(reading.problems)], remarks: [...new Set(reading.remarks)] };
}

class Reading {
  readonly settings: SshSettings;
  readonly problems: string[];
  readonly remarks: string[];
  sawFinal = false;
  readonly #question: SshQuestion;
  /** What `Host` patterns are compared with. */
  readonly #host: string;
  readonly #final: boolean;

  constructor(question: SshQuestion, host: string, final: boolean, before?: Reading) {
    this.#question = question;
    this.#host = host;
    this.#final = final;
    this.settings = before?.settings ?? { identityFiles: [], ...(question.hostName === undefined ? {} : { hostName: question.hostName }) };
    this.problems = before?.problems ?? [];
    this.remarks = before?.remarks ?? [];
  }

  read(file: SshConfigFile, depth: number): void {
    let active = true;
    for (const [at, line] of file.text.split('\n').entries()) {
      // Most lines of most files; passing over them spares a start half a millisecond.
      if (/^\s*(?:#|$)/.test(line)) continue;
      const words = wordsOf(line);
      const [keyword = '', ...values] = words ?? [];
      const refuse = (why: string) => {
        this.problems.push(`${quote(file.path).slice(1, -1)}:${at + 1}: ${why}`);
      };
      if (words === undefined) {
        if (active) refuse('a quotation mark is missing');
      } else if (keyword.toLowerCase() === 'host') active = this.#isForHost(values);
      else if (keyword.toLowerCase() === 'match') active = this.#matches(values);
      else if (!active || keyword === '') continue;
      else if (keyword.toLowerCase() !== 'include') this.#set(keyword.toLowerCase(), values, refuse);
      else if (depth >= MAX_DEPTH) refuse('too many files include each other');
      else for (const pattern of values) for (const other of this.#question.include(pattern, file)) this.read(other, depth + 1);
    }
  }

  hostName(): string {
    const { hostName } = this.settings;
    try {
      return hostName === undefined ? this.#question.host : this.#question.expandHostName(hostName);
    } catch {
      return this.#question.host;
    }
  }

  #isForHost(patterns: readonly string[]): boolean {
    if (patterns.some((pattern) => pattern.startsWith('!') && matchesPattern(pattern.slice(1), this.#host))) return false;
    return patterns.some((pattern) => matchesPattern(pattern, this.#host));
  }

  /** All criteria must hold. What cannot be judged without running something does not hold, in either sense. */
  #matches(words: readonly string[]): boolean {
    let holds = true;
    for (let at = 0; at < words.length; at += 1) {
      const word = words[at] ?? '';
      const negated = word.startsWith('!');
      // Since OpenSSH 9.8 an equals sign may stand between a criterion and its value.
      const [name = '', joined] = (negated ? word.slice(1) : word).toLowerCase().split(/=(.*)/s, 2);
      if (name === 'final') this.sawFinal = true;
      if (name === 'all' || name === 'canonical' || name === 'final') {
        if ((name === 'all' || (name === 'final' && this.#final)) === negated) holds = false;
        continue;
      }
      if (joined === undefined) at += 1;
      const list = joined ?? words[at] ?? '';
      const subject = this.#subject(name);
      if (subject === undefined) {
        if (holds) this.remarks.push(`${quote(`Match ${name}`)} of the ssh configuration is not evaluated: taken as not matching`);
        holds = false;
      } else if (isListed(list, subject) === negated) holds = false;
    }
    return holds && words.length > 0;
  }

  #subject(criterion: string): string | undefined {
    const { host, localUser } = this.#question;
    switch (criterion) {
      case 'host':
        return this.hostName();
      case 'originalhost':
        return host;
      case 'localuser':
        return localUser();
      case 'user':
        return this.settings.user ?? localUser();
      default:
        return undefined;
    }
  }

  #set(keyword: string, values: readonly string[], refuse: (why: string) => void): void {
    const { settings } = this;
    const [value] = values;
    if (value === undefined) return;
    switch (keyword) {
      case 'hostname':
        settings.hostName ??= value;
        break;
      case 'port':
        if (!/^\d{1,5}$/.test(value) || Number(value) < 1 || Number(value) > 65535)
          refuse(`Port: expected a number from 1 to 65535, not ${quote(value)}`);
        else settings.port ??= Number(value);
        break;
      case 'addressfamily':
        settings.family ??= value === 'inet' ? 4 : value === 'inet6' ? 6 : 'any';
        break;
      case 'user':
        settings.user ??= value;
        break;
      case 'hostkeyalias':
        settings.hostKeyAlias ??= value;
        break;
      case 'proxyjump':
        settings.proxyJump ??= value;
        break;
      case 'userknownhostsfile':
        settings.userKnownHosts ??= values;
        break;
      case 'globalknownhostsfile':
        settings.globalKnownHosts ??= values;
        break;
      case 'identityfile':
        if (!settings.identityFiles.includes(value)) settings.identityFiles.push(value);
        break;
    }
  }
}

/** Match's pattern lists: comma-separated, one must match and no `!pattern` may. */
function isListed(list: string, subject: string): boolean {
  const patterns = list.split(',').filter((pattern) => pattern !== '');
  if (patterns.some((pattern) => pattern.startsWith('!') && matchesPattern(pattern.slice(1), subject))) return false;
  return patterns.some((pattern) => matchesPattern(pattern, subject));
}

/** `Keyword value "second value" # comment`, also `Keyword=value`. Undefined when a quotation is not closed. */
function wordsOf(line: string): readonly string[] | undefined {
  const [, keyword = '', rest = ''] = /^\s*([^\s=#"]+)(?:\s*=\s*|\s+|$)(.*)$/s.exec(line) ?? [];
  const words = [keyword];
  let left = rest.trim();
  while (left !== '' && !left.startsWith('#')) {
    const word = /^(?:[^\s"'\\]+|\\.?|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')+/s.exec(left)?.[0];
    if (word === undefined) return undefined;
    words.push(unquoted(word));
    left = left.slice(word.length).trimStart();
  }
  return words;
}

/** A backslash takes the meaning of a quotation mark, of a backslash, and of a blank outside quotation marks. */
function unquoted(word: string): string {
  return word.replace(
    /"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|\\(["'\\ ])/gs,
    (_, double: string | undefined, single: string | undefined, escaped: string | undefined) =>
      escaped ?? (double ?? single ?? '').replace(/\\(["'\\])/g, '$1'),
  );
}
