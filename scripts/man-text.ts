// What the manual pages say beyond the definitions: files, environment, and the page about the whole, postern(7). Figures come from the code.
import { MAX_PACKET_BYTES, MIN_PACKET_BYTES } from '../protocol/packet.ts';
import { DEFAULT_SLOTS, MAX_SLOTS, WINDOW_MS } from '../protocol/tags.ts';
import type { PageFacts } from '../shell/man-page.ts';
import { literal, pageList, pageText, paragraph, section } from '../shell/roff.ts';
import type { FileFacts } from '../shell/schema-page.ts';

type Facts = Omit<PageFacts, 'date' | 'version'>;
type Pages = Omit<FileFacts, 'date' | 'version' | 'example'>;

export const KNOCK_FACTS: Facts = {
  section: 1,
  environment: [
    ['KNOCK_PASSPHRASE_FILE', 'A file whose first line is the passphrase of the private key, for use without a terminal.'],
    ['NO_COLOR', 'Where it is set and not empty, nothing is colored.'],
    [
      'XDG_CONFIG_HOME, XDG_STATE_HOME',
      'Where the configuration and the record of used slots are kept instead of `~/.config` and `~/.local/state`.',
    ],
  ],
  files: [
    ['~/.config/knock/config.yaml', 'Profiles, one for each server. Its JSON Schema is shipped as `docs/schema/knock.schema.json`.'],
    ['~/.config/knock/id_ed25519', 'The key to knock with, before `~/.ssh/id_ed25519`.'],
    ['~/.ssh/known_hosts', "Where a server's key is found when nothing else names it."],
    ['~/.local/state/knock/', 'Which one-time tags were used already, so that two commands at once do not take the same.'],
  ],
  seeAlso: ['posternd(8)', 'postern(7)', 'ssh(1)', 'ssh-keygen(1)'],
};

export const POSTERND_FACTS: Facts = {
  section: 8,
  environment: [
    ['POSTERN_CONFIG', 'The configuration file, where `--config` does not name one.'],
    ['NO_COLOR', 'Where it is set and not empty, nothing is colored.'],
  ],
  files: [
    ['/etc/postern/postern.yaml', 'The configuration: postern.yaml(5).'],
    ['/etc/postern/rules.d/', 'Who may knock, and what for: postern-rules(5).'],
    ['/etc/postern/host_ed25519', "The server's private key, readable by the daemon alone. Clients need `host_ed25519.pub`."],
    ['/var/lib/postern/', 'The replay ledger. Without it, knocks of the last minutes are refused once.'],
    ['/run/postern/control.sock', 'The control socket, for root and the group postern.'],
  ],
  seeAlso: ['knock(1)', 'postern.yaml(5)', 'postern-rules(5)', 'postern(7)', 'nft(8)', 'systemd(1)'],
};

export const CONFIG_FACTS: Pages = {
  name: 'postern.yaml',
  about: 'configuration of the knock daemon posternd',
  description: [
    'The configuration of posternd(8), in YAML 1.2, usually `/etc/postern/postern.yaml`. `posternd init` writes one that explains itself, and `posternd check` says everything that is wrong with one, with file, line and column.',
    'Unknown keys are errors. Durations are a number and a unit: 30s, 10m, 2h, 7d. Ports are written tcp/22, udp/51820 or tcp/9000-9010, or by a name of `services` or of /etc/services. A path that is relative stands beside the file.',
    'The file must belong to root or to the user of the daemon, and nobody else may be able to write it.',
  ],
  more: [],
  files: [['/etc/postern/postern.yaml', 'The default place.']],
  seeAlso: ['posternd(8)', 'postern-rules(5)', 'postern(7)'],
};

export const RULES_FACTS: Pages = {
  name: 'postern-rules',
  about: 'rule files of the knock daemon posternd: who may open what',
  description: [
    'Every file that ends in .yaml below the folder `rules` of postern.yaml(5) is a rule file: one for a person, a team or a purpose. The clients of a file may have what the file allows.',
    'The first `allow` entry of a client that matches a requested port decides the request. A knock that names nothing gets all entries but those with `default: false`.',
    'One key belongs to one client: a key that stands twice is an error that names both places. A `keys_file` is written by its user and is not trusted that far: a key there that stands elsewhere already is skipped with a warning.',
    '`posternd reload` reads the files anew. Where one is wrong, all old rules stay.',
  ],
  more: [
    [
      'Time windows',
      [
        'A window in `when` holds in every minute that its cron form matches: `* 8-17 * * mon-fri` is from 8:00 to 17:59 on working days. A grant ends with its window at the latest. A time that the change to summer time leaves out matches nothing, and an hour that comes twice matches twice.',
      ],
    ],
    [
      'Hooks',
      [
        '`on_open` and `on_close` hold a program and its arguments, never a line for a shell. It runs as the user of the daemon without any capability, with a clean environment and a time limit, and never delays a knock.',
      ],
    ],
  ],
  files: [['/etc/postern/rules.d/*.yaml', 'The default place.']],
  seeAlso: ['posternd(8)', 'postern.yaml(5)', 'postern(7)'],
};

/** The text of postern(7). */
export function overview(date: string, version: string): string {
  const pages = ['knock(1)', 'posternd(8)', 'postern.yaml(5)', 'postern-rules(5)', 'nft(8)'];
  const seconds = WINDOW_MS / 1000;
  const body = [
    section('Name'),
    'postern \\- ports that stay closed until you knock: the protocol and its limits',
    section('Description'),
    ...paragraph(
      "Postern keeps the ports of a Linux server closed to everyone, and opens them for a short time and for one address to a person who knocks. A knock is one UDP packet, signed by the client's Ed25519 key and sealed for the server. The server never answers it.",
    ),
    ...paragraph(
      `A packet is ${MIN_PACKET_BYTES} to ${MAX_PACKET_BYTES} bytes long, and every byte of it looks random. It begins with a tag that only this client and this server can compute, for one of ${DEFAULT_SLOTS} slots (at most ${MAX_SLOTS}) of the current ${seconds} seconds. Each tag is good once, ever. With nftables the valid tags stand in a set of the kernel, so that junk and replays are dropped there and the daemon never sees them.`,
    ),
    ...paragraph(
      'A matching packet is handed to the daemon by the packet log of the kernel (NFLOG), and dropped: nothing listens on the port. The daemon checks seal, signature, time and rules, writes the tag into its replay ledger, and adds an element with a timeout to a set of the firewall. The kernel ends the grant on time, whatever becomes of the daemon. Protected ports stay closed while it is down.',
    ),
    section('Keys'),
    ...paragraph(
      'People and servers are ssh\\-ed25519 keys in the formats of OpenSSH. A rule file holds the line of an authorized_keys file, and `knock` uses `~/.ssh/id_ed25519` and finds the key of the server in `known_hosts`, or in a profile.'.replaceAll(
        '\\-',
        '-',
      ),
    ),
    section('Limits'),
    ...paragraph('What Postern does not give, so that nobody counts on it:'),
    ...[
      'Whoever reads the wire sees that a packet of a few hundred bytes went by, and a connection after it. They cannot read it, alter it, or use it again.',
      'People behind one address (NAT) share its grants for their lifetime. Short lifetimes, `once: true` and source ports narrow that.',
      'A source address is no proof of presence: whoever holds a key of a client can open the door for an address that is not theirs.',
      'A network can hold a knock back for as long as its window is accepted, about three minutes with the usual tolerance. It cannot undo a later close with it.',
      'There is no forward secrecy: whoever steals the key of a server can read recorded knocks, but cannot knock. What a knock says is of low value.',
      'Clients need a clock that is right to a minute (`clock_tolerance`).',
      'Two servers must never share a key: each would accept the same knock once.',
      'Postern guards ports. It replaces no authentication of the service behind them.',
    ].flatMap((text) => ['.IP \\(bu 2', ...paragraph(text).slice(1)]),
    section('Examples'),
    ...paragraph('On the server:'),
    ...literal([
      'sudo posternd init',
      'sudoedit /etc/postern/postern.yaml          # the ports to close, under "protect:"',
      'sudo posternd client add alice --key "ssh-ed25519 AAAA..." --services ssh --host web1.example.org',
      'sudo posternd check',
      'sudo posternd try',
      'sudo systemctl enable --now postern-gate posternd',
    ]),
    ...paragraph('On the client:'),
    ...literal([
      'knock keygen                                # before: its public line goes to the server',
      'knock add postern1:...                      # the invitation that "client add" printed',
      'knock web1 ssh',
      'ssh web1.example.org',
    ]),
    section('Standards'),
    ...paragraph(
      'Ed25519 is RFC 8032, X25519 RFC 7748, HMAC RFC 2104; the seal is the secretbox of NaCl (XSalsa20 and Poly1305). The protocol is described byte by byte in `protocol/SPEC.md`, with test vectors in `protocol/vectors.json`.',
    ),
    section('See also'),
    pageList(pages),
  ];
  return pageText({ name: 'postern', section: 7, date, source: `Postern ${version}`, body });
}
