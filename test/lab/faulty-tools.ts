// Lets iptables and ip6tables of this process and its children fail on purpose: a script stands in front of the real program, which goes on when
// the test says nothing. The host's stay as they are (a mount namespace).
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { showInstead } from './backend.ts';

const MULTI = '/usr/sbin/xtables-nft-multi';

export type FaultyTools = {
  /** Runs of programs with such a name (a shell pattern: `ip6tables-restore`, `*-save`) fail from now on. */
  readonly fail: (pattern: string, times?: number) => void;
  /** Texts for *-restore that match this regular expression are refused, as by a kernel that lacks the module. */
  readonly refuse: (pattern: string) => void;
  readonly heal: () => void;
};

/** In front of the multi-call program that iptables leads to here, whichever that is. */
export function faultyTools(): FaultyTools {
  const folder = mkdtempSync(join(tmpdir(), 'postern-faulty-'));
  const [real, order, count, lacking, script] = ['real', 'order', 'count', 'lacking', 'script'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
    string,
  ];
  copyFileSync(MULTI, real);
  chmodSync(real, 0o755);
  writeFileSync(
    script,
    `#!/bin/bash
name=\${0##*/}
if [ -e ${order} ]; then
  left=$(cat ${count})
  if [[ $name == $(cat ${order}) && $left -gt 0 && $1 != --version ]]; then
    echo $((left - 1)) > ${count}
    echo "$name: a fault on purpose" >&2
    exit 4
  fi
fi
if [ -e ${lacking} ] && [[ $name == *-restore ]]; then
  text=$(cat; echo .)
  pattern=$(cat ${lacking})
  if [[ $text =~ $pattern ]]; then
    echo "iptables-restore: line 4 failed" >&2
    exit 1
  fi
  exec -a "$name" ${real} "$@" < <(printf '%s' "\${text%.}")
fi
exec -a "$name" ${real} "$@"
`,
    { mode: 0o755 },
  );
  showInstead([[script, MULTI]]);
  return {
    fail: (pattern, times = 1_000_000) => {
      writeFileSync(count, `${times}\n`);
      writeFileSync(order, pattern);
    },
    refuse: (pattern) => writeFileSync(lacking, pattern),
    heal: () => {
      for (const file of [order, lacking]) rmSync(file, { force: true });
    },
  };
}
