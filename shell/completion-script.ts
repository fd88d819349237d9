// The completion scripts of bash, zsh and fish. They know nothing: they ask the program itself, by its hidden word `__complete`.

import type { Command } from 'commander';
import { type Completion, completeLine, type Sources } from './complete.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

// The word that asks for candidates. It is in no help.
const COMPLETE_WORD = '__complete';

/** The script for `program`, with how to install it in its first lines. */
export function completionScript(shell: Shell, program: string): string {
  const script = { bash, zsh, fish }[shell];
  return `${script(program)}\n`;
}

/**
 * Answers a script: `args` are what stands behind `__complete`. Gives the lines to print: a candidate each (with a tab and what it is, but for
 * bash), or `:files` or `:commands`.
 */
export async function answerShell(root: Command, args: readonly string[], sources: Sources): Promise<readonly string[]> {
  const [shell, ...rest] = args;
  if (shell === 'bash') {
    const [line = '', breaks = ''] = rest;
    const words = shellWords(line).slice(1);
    return lines(await completeLine(root, words, sources), bashPrefix(words.at(-1) ?? '', breaks), false);
  }
  if (shell !== 'zsh' && shell !== 'fish') return [];
  return lines(await completeLine(root, rest.slice(1), sources), 0, true);
}

function lines(completion: Completion, cut: number, withAbout: boolean): readonly string[] {
  if (completion.kind !== 'words') return [`:${completion.kind}`];
  return completion.candidates.map(({ word, about }) => `${word.slice(cut)}${withAbout ? `\t${about.replace(/\s+/g, ' ')}` : ''}`);
}

/** The words of a line that is not finished: the last one is what the cursor stands behind. Quotes and backslashes as in bash, nothing is expanded. */
export function shellWords(line: string): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < line.length; at += 1) {
    const letter = line.charAt(at);
    if (quote !== '') {
      if (letter === quote) quote = '';
      else if (letter === '\\' && quote === '"') word += line.charAt(++at);
      else word += letter;
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      word ??= '';
    } else if (letter === '\\') word = `${word ?? ''}${line.charAt(++at)}`;
    else if (/\s/.test(letter)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = `${word ?? ''}${letter}`;
  }
  return [...words, word ?? ''];
}

/** Bash replaces only what stands behind the last of its word breaks (`:` in an IPv6 address, `=`). */
function bashPrefix(word: string, breaks: string): number {
  return Math.max(...[':', '='].map((letter) => (breaks.includes(letter) ? word.lastIndexOf(letter) + 1 : 0)));
}

const bash = (name: string) => `# Completion of ${name} for bash. In ~/.bashrc, or in a running shell: source <(${name} completion bash)
_${name}_complete() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) compopt -o default 2>/dev/null; COMPREPLY=(); return ;;
      :commands) mapfile -t COMPREPLY < <(compgen -c -- "$2"); return ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done < <(command "$1" ${COMPLETE_WORD} bash "\${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null)
}
complete -o nosort -F _${name}_complete ${name}`;

const zsh = (name: string) => `#compdef ${name}
# Completion of ${name} for zsh: "${name} completion zsh > DIRECTORY/_${name}" for a DIRECTORY of $fpath,
# or in a running shell, after compinit: source <(${name} completion zsh)
_${name}() {
  local line
  local -a lines described
  lines=("\${(@f)$(command \${words[1]} ${COMPLETE_WORD} zsh "\${(@Q)words[1,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null </dev/null)}")
  case $lines[1] in
    :files) _files; return ;;
    :commands) _command_names -e; return ;;
  esac
  for line in $lines; do
    described+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  (( $#described )) && _describe -V ${name} described
}
if [ "$funcstack[1]" = "_${name}" ]; then _${name} "$@"; else compdef _${name} ${name}; fi`;

const fish = (name: string) => `# Completion of ${name} for fish: "${name} completion fish > ~/.config/fish/completions/${name}.fish",
# or in a running shell: ${name} completion fish | source
function __${name}_complete
  set -l current (commandline -ct)
  set -l words (commandline -opc) "$current"
  set -l lines (command $words[1] ${COMPLETE_WORD} fish $words 2>/dev/null </dev/null)
  switch "$lines[1]"
    case :files
      __fish_complete_path "$current"
    case :commands
      complete -C "$current"
    case '*'
      printf '%s\\n' $lines
  end
end
complete -c ${name} -f -a '(__${name}_complete)'`;
