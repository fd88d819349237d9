// The audit log: reading, checking, going on behind a damaged end, and showing. Input: a line with how it is changed, then entries (JSON objects),
// a line each. They are linked as the daemon links them; then, by the first line `AT LENGTH TEXT`, a piece of the log is replaced. Whatever that
// changed must be found, but for whole lines that are gone from the end. With a first line that is no such thing the rest is a log as it stands.
import { GENESIS, type Head, linkLine, readBytes } from '../../../daemon/audit/chain.ts';
import { describeEntry, readShown } from '../../../daemon/audit/describe.ts';
import { decisionEntry } from '../../../daemon/audit/entries.ts';
import { tailOf } from '../../../daemon/audit/tail.ts';
import { ChainCheck, type Verified } from '../../../daemon/audit/verify.ts';
import { addressFromBytes } from '../../../protocol/address.ts';
import { unixMs } from '../../../protocol/brand.ts';
import { secretFromSeed } from '../../../protocol/identity.ts';
import type { KnockBody } from '../../../protocol/knock.ts';
import { openKnock, sealKnock } from '../../../protocol/packet.ts';
import { pairAsServer } from '../../../protocol/pairing.ts';
import { windowOf } from '../../../protocol/tags.ts';
import { hold, holdPlain } from '../hold.ts';
import type { FuzzTarget } from '../target.ts';

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('utf8');
  const [first = '', ...rest] = text.split('\n');
  const change = /^(\d{1,4}) (\d{1,3}) (.*)$/.exec(first);
  if (change === null) {
    looked(Buffer.from(rest.join('\n')));
    return 'as it stands';
  }
  const entries = rest.filter(isEntry);
  if (entries.length === 0) return 'no entries';
  const sound = linked(entries);
  const whole = looked(sound);
  hold(
    !whole.findings.some(({ message }) => /changed|missing|stands|no line/.test(message)),
    () => `a sound log: ${whole.findings[0]?.message}`,
  );
  hold(whole.lines === entries.length && whole.head?.n === entries.length, 'lines that were not counted');
  const { length } = sound;
  const at = Number(change[1]) % (length + 1);
  const changed = Buffer.concat([sound.subarray(0, at), Buffer.from(change[3] ?? ''), sound.subarray(at + Number(change[2]))]);
  const after = looked(changed);
  if (changed.equals(sound)) return 'nothing changed';
  // Without its last line end the log says the same.
  if (changed.equals(sound.subarray(0, -1))) return 'no last line end';
  // Whole lines that are gone from the end are found by a head that somebody kept, and by nothing else.
  if (
    sound.subarray(0, changed.length).equals(changed) &&
    (changed.length === 0 || changed.at(-1) === 10 || sound[changed.length] === 10)
  ) {
    const kept = looked(changed, whole.head);
    hold(
      kept.findings.some(({ message }) => message.includes('cut off')),
      'a cut end is not found by the kept head',
    );
    return 'cut';
  }
  const news = after.findings.length > whole.findings.length || (after.first?.n ?? 1) > 1;
  hold(
    news || after.findings.some(({ message }) => !whole.findings.some((known) => known.message === message)),
    'a change that is not found',
  );
  return 'found';
}

function isEntry(line: string): boolean {
  try {
    const json: unknown = JSON.parse(line);
    return (
      typeof json === 'object' &&
      json !== null &&
      !Array.isArray(json) &&
      Object.keys(json).length > 0 &&
      line.startsWith('{') &&
      line.endsWith('}')
    );
  } catch {
    return false;
  }
}

function linked(entries: readonly string[]): Buffer {
  let head: Head = GENESIS;
  const lines = entries.map((entry) => {
    // As the daemon makes them: JSON.stringify's own form.
    const line = linkLine(head, JSON.stringify(JSON.parse(entry)));
    head = line;
    return `${line.text}\n`;
  });
  return Buffer.from(lines.join(''));
}

/** Everything that reads a log. */
function looked(log: Buffer, kept?: Head): Verified {
  const check = new ChainCheck(kept === undefined ? [] : [{ hash: kept.hash, n: kept.n }]);
  let from = 0;
  let number = 0;
  let last: Head | undefined;
  while (from < log.length) {
    const newline = log.indexOf(10, from);
    const end = newline < 0 ? log.length : newline;
    number += 1;
    const bytes = log.subarray(from, end);
    check.next('audit.jsonl', { bytes, number, isEnded: newline >= 0 });
    const line = bytes.toString('utf8');
    const read = readBytes(bytes);
    if (read.ok) last = { n: read.line.n, hash: read.line.hash };
    const shown = readShown(line);
    if (shown !== undefined) holdPlain(describeEntry(shown), 'a shown line');
    from = end + 1;
  }
  const tail = tailOf(log, true);
  hold(tail.head?.hash === last?.hash && tail.head?.n === last?.n, 'goes on behind another line than the last whole one');
  const verified = check.end();
  for (const { at, message } of verified.findings) holdPlain(`${at} ${message}`, 'a finding');
  return verified;
}

/** Entries with true signatures, as decisions write them: a granted and a refused knock. */
function signedEntries(): readonly string[] {
  const [own, server] = [secretFromSeed(new Uint8Array(32).fill(1)), secretFromSeed(new Uint8Array(32).fill(2))];
  const at = unixMs(1_795_269_612_345);
  const pairing = pairAsServer(server, own.publicKey);
  const body: KnockBody = {
    action: { kind: 'open', lifetimeSeconds: 30, once: false },
    sentAtMs: at,
    source: { kind: 'unbound' },
    sourcePort: 0,
    requests: [{ kind: 'service', name: 'ssh' }],
  };
  return [1, 2].map((slot) => {
    const random = (count: number) => new Uint8Array(count).fill(slot);
    const opened = openKnock(sealKnock({ pairing, secret: own, window: windowOf(at), slot, body, random }), pairing, windowOf(at));
    hold(opened.ok, 'a knock that does not open');
    const knock = { client: own.publicKey, server: server.publicKey, proof: opened.proof };
    const common = { client: 'alice', address: addressFromBytes(Uint8Array.of(192, 0, 2, 7)), knock };
    const granted = { kind: 'granted', services: ['ssh'], lifetimeSeconds: 30, prolonged: false, grants: [], ...common } as const;
    return decisionEntry(slot === 1 ? granted : { kind: 'dropped', reason: 'not-allowed', detail: 'tcp/23', ...common }, at) ?? '';
  });
}

const TIME = '"time":"2026-11-21T12:00:00.000Z"';
const ENTRIES = [
  `{${TIME},"event":"begin","format":1,"previous_file":null,"why":"first"}`,
  `{${TIME},"event":"start","version":"0.1.0","clients":3}`,
  `{${TIME},"event":"granted","client":"alice","address":"192.0.2.7","services":["ssh"],"grants":["g1"],"by":"administrator","lifetime_seconds":30,"prolonged":false}`,
  `{${TIME},"event":"refused","client":"bob","address":"2001:db8::1","reason":"not-allowed","knock":{"asked":{"services":["x"]}}}`,
  `{${TIME},"event":"lost","count":3,"since":"2026-11-21T12:00:00.000Z","until":"x"}`,
  `{${TIME},"event":"order","user":0,"command":"reload"}`,
  `{${TIME},"event":"damaged","bytes":3,"sha256":"00"}`,
  `{${TIME},"event":"reload-failed","why":"\\u001b[2J"}`,
];

export const target: FuzzTarget = {
  about: 'the audit log: its chain, its damaged ends, and what is shown of it',
  covers: ['daemon/audit/chain.ts', 'daemon/audit/verify.ts', 'daemon/audit/describe.ts', 'daemon/audit/tail.ts', 'daemon/audit/proofs.ts'],
  kind: 'text',
  maxBytes: 3000,
  seeds: [
    `100 3 abc\n${ENTRIES.join('\n')}`,
    `0 0 \n${ENTRIES.slice(0, 3).join('\n')}`,
    `${linked(ENTRIES.slice(0, 1)).length} 999 \n${ENTRIES.slice(0, 2).join('\n')}`,
    `300 999 \n${ENTRIES.slice(0, 3).join('\n')}`,
    `900 5 \n${signedEntries().join('\n')}`,
    `300 1 x\n${[...signedEntries(), signedEntries()[0]].join('\n')}`,
    `500 1 \n${ENTRIES.slice(2).join('\n')}`,
    `x\n${linked(ENTRIES.slice(0, 4)).toString()}`,
    `x\n${linked(ENTRIES).toString().split('\n').toSorted().join('\n')}`,
  ],
  dictionary: ['{"n":', '"event":"', '"knock":{', '"hash":"', '"prev":"', '\\u001b', '"client":"', '"time":"'],
  run,
  mustReach: ['as it stands', 'found', 'cut', 'nothing changed'],
};
