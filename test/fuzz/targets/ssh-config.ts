// ssh_config as the client reads it: the first line is the host that was typed, the rest the file. It may include itself ("self"), or another.
import { readSshConfig, type SshConfigFile } from '../../../client/ssh-config.ts';
import { hold, holdPlain } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

const PATH = '/home/somebody/.ssh/config';
const OTHER: SshConfigFile = { path: '/home/somebody/.ssh/other', text: 'User other\nInclude\n', ofUser: true };
/** As often as the file names itself: ssh's depth is 16, and a file that includes itself twice would be read 65,536 times. */
const MOST_INCLUDES = 40;

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('utf8');
  const end = text.indexOf('\n');
  const host = text.slice(0, Math.max(0, end));
  const file: SshConfigFile = { path: PATH, text: text.slice(end + 1), ofUser: true };
  let included = 0;
  const { settings, problems, remarks } = readSshConfig([file], {
    host,
    hostName: undefined,
    localUser: () => 'somebody',
    expandHostName: (name) => {
      if (/%[^h]/.test(name)) throw new Error('has no meaning here');
      return name.replaceAll('%h', host);
    },
    include: (pattern) => {
      included += 1;
      if (pattern !== 'self') return [OTHER];
      return included > MOST_INCLUDES ? [] : [file];
    },
  });
  for (const problem of problems) {
    holdPlain(problem, 'a problem');
    hold(/^\/home\/somebody\/\.ssh\/(config|other):[1-9]\d*: /.test(problem), () => `no place: ${problem}`);
  }
  for (const remark of remarks) holdPlain(remark, 'a remark');
  if (settings.port !== undefined)
    hold(Number.isInteger(settings.port) && settings.port >= 1 && settings.port <= 65_535, `port ${settings.port}`);
  if (problems.length > 0) return 'problems';
  if (included > 0) return 'included';
  return Object.keys(settings).length > 1 ? 'settings' : remarks.length > 0 ? 'remarks' : 'nothing';
}

export const target: FuzzTarget = {
  about: 'ssh_config as knock reads it',
  covers: ['client/ssh-config.ts'],
  kind: 'text',
  maxBytes: 2000,
  seeds: [
    'web1\nHost web* !web2\n  HostName=web1.example.org\n  Port 2222\n  User "some body" # x\n  IdentityFile ~/.ssh/a\nMatch host "*.org" user somebody\n  ProxyJump none\n',
    'web1\nMatch final all\n AddressFamily inet6\nMatch exec "true"\n Port 3\nMatch !originalhost=web2 localuser some*\n HostKeyAlias x\n',
    'web1\nInclude other\n',
    'web1\nInclude self\n',
    'web1\nInclude config.d/*\nUserKnownHostsFile ~/.ssh/a \'b c\' "d\\"e"\nGlobalKnownHostsFile none\nPort 99999\nHost "\n',
  ],
  dictionary: ['Host ', 'Match ', 'all', 'final', 'canonical', 'Include ', '!', ' "', "'", '\\', '%h', '\t', '#'],
  run,
  mustReach: ['problems', 'included', 'settings', 'remarks', 'nothing'],
};
