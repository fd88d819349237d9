// What a finding means in words: whose rule it is, and what its owner's own command is that lets the port in. Pure.
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import type { Place } from './evaluate.ts';
import type { Chain } from './ruleset.ts';
import type { Finding } from './verdicts.ts';

export type Advice = { readonly message: string; readonly cure: string };

export function adviceFor(finding: Finding): Advice {
  const { fate, ports, network } = finding;
  const owner = ownerOf(fate.at.chain);
  const who = owner === 'other' ? 'another firewall of this host' : owner;
  const where = `${ports.map(formatPortRange).join(', ')}${network === undefined ? '' : ` of ${network.text}`}`;
  const scope = scopeOf(finding);
  const place = placeText(fate.at);
  switch (fate.kind) {
    case 'blocked':
      return {
        message: `${where} stays closed after a knock too: ${who} ${fate.how}s it${scope} (${place})`,
        cure: cureFor(finding, owner),
      };
    case 'only-some': {
      const unless = fate.unless.map(placeText).join('; ');
      const message = `${where} opens after a knock only for some: ${who} ${fate.how}s it${scope} (${place}) but for what this lets in: ${unless}`;
      return { message, cure: `is that meant so? Otherwise ${cureFor(finding, owner)}` };
    }
    case 'cannot-tell':
      return {
        message: `cannot tell whether ${where} opens after a knock${scope}: it hangs on a rule of ${who} that "check" cannot decide (${place})`,
        cure: 'knock and see; the rule belongs to the other firewall, Postern leaves it alone',
      };
  }
}

/** For a capture that is behind the others' rules: what keeps knocks themselves from it. Undefined where it cannot be told. */
export function adviceForKnocks(finding: Finding): Advice | undefined {
  const { fate, ports } = finding;
  if (fate.kind === 'cannot-tell') return undefined;
  const owner = ownerOf(fate.at.chain);
  const who = owner === 'other' ? 'another firewall of this host' : owner;
  const some = fate.kind === 'only-some' ? ' but some' : '';
  return {
    message: `knocks${some} do not reach capture: udp: ${who} ${fate.how}s ${ports.map(formatPortRange).join(', ')}${scopeOf(finding)} (${placeText(fate.at)})`,
    cure: `set capture: nflog, which sees them before that, or ${cureFor(finding, owner)}`,
  };
}

type Owner = 'ufw' | 'firewalld' | 'Docker' | 'fail2ban' | 'other';

/** Whose a chain is, by the names that these programs give. */
function ownerOf(chain: Chain): Owner {
  if (/^ufw6?-/.test(chain.name)) return 'ufw';
  if (chain.table === 'firewalld' || /^(?:IN|FWD[IO]?)_[A-Za-z]+(?:_|$)/.test(chain.name)) return 'firewalld';
  if (/^DOCKER/.test(chain.name)) return 'Docker';
  if (/^f2b-/.test(chain.name)) return 'fail2ban';
  // A built-in chain belongs to whoever hung chains of its own in it, and set its policy.
  if (chain.base === undefined) return 'other';
  const prefix = `${chain.backend} ${chain.family} ${chain.table} `;
  const jumps = chain.rules.flatMap(({ verdict }) =>
    verdict.kind === 'jump' || verdict.kind === 'goto' ? [verdict.chain.slice(prefix.length)] : [],
  );
  if (jumps.some((name) => /^ufw6?-/.test(name))) return 'ufw';
  if (jumps.some((name) => /^(?:INPUT|FORWARD)_(?:ZONES|direct)$/.test(name))) return 'firewalld';
  if (jumps.some((name) => /^DOCKER/.test(name)) && chain.base.hook === 'forward') return 'Docker';
  return 'other';
}

function cureFor({ fate, ports, network }: Finding, owner: Owner): string {
  const forwards = fate.kind !== 'cannot-tell' && fate.hook === 'forward';
  const commands = (make: (port: PortRange) => string): string => `"${ports.map(make).join(' && ')}"`;
  const dash = ({ first, last }: PortRange, mark: string): string => (first === last ? `${first}` : `${first}${mark}${last}`);
  if (owner === 'ufw') {
    if (!forwards) return `run ${commands((port) => `ufw allow ${dash(port, ':')}/${port.protocol}`)}`;
    const to = network === undefined ? 'any' : network.text;
    return `run ${commands((port) => `ufw route allow proto ${port.protocol} to ${to} port ${dash(port, ':')}`)}`;
  }
  if (owner === 'firewalld') {
    if (/_deny$/.test(fate.at.chain.name)) return 'remove the rich rule of firewalld that refuses it (firewall-cmd --list-rich-rules)';
    if (forwards) return 'add a policy of firewalld that lets it through (man firewalld.policies)';
    const zone = /^(?:filter_)?IN_(.+?)(?:_(?:pre|log|allow|post))?$/.exec(fate.at.chain.name)?.[1];
    const inZone = zone === undefined ? '' : ` --zone=${zone}`;
    const add = ports.map((port) => `--add-port=${dash(port, '-')}/${port.protocol}`).join(' ');
    return `run "firewall-cmd --permanent${inZone} ${add} && firewall-cmd --reload"`;
  }
  if (owner === 'fail2ban') return 'see "fail2ban-client status" and unban what should get in';
  const file =
    fate.at.chain.backend === 'legacy' ? 'where iptables-legacy rules are kept' : 'where its rules are kept (often /etc/nftables.conf)';
  return `let it in there, ${file}: the gate goes on closing it until a knock`;
}

function scopeOf({ versions, interfaces }: Finding): string {
  const family = versions.length === 2 ? '' : ` over IPv${versions.join()}`;
  return `${family}${interfaces.length === 0 ? '' : ` on ${interfaces.join(', ')}`}`;
}

/** `ip filter INPUT: policy drop`, `inet filter input: tcp dport 22 drop`. */
function placeText({ chain, rule }: Place): string {
  const head = `${chain.backend === 'legacy' ? 'iptables-legacy ' : ''}${chain.family} ${chain.table} ${chain.name}`;
  return `${head}: ${rule === undefined ? `policy ${chain.base?.policy ?? 'accept'}` : rule.text}`;
}
