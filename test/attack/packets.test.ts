// Black box: packets that no honest stack sends. None is a way past the gate, none opens but what is one whole, true knock, none stops the daemon.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { backendName, isNftables, lacks, openPorts } from '../lab/backend.ts';
import { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, PORT, rulesFor, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { deliver, Mint, pathBetween } from './adversary.ts';
import { FLAG, frame, packet, TCP, tcp, UDP, udp } from './frames.ts';
import { type Segment, SHAPES, type Shape } from './shapes.ts';

const skip = labMissing() ?? false;
const FIRST_PORT = 20_000;
const SLOTS = 64;
/** What was left of a packet in pieces must not meet the pieces of another. */
let lastId = 0;

/** Headers of TCP that might look like something else than the beginning of a connection. */
const FLAGS: Readonly<Record<string, { readonly flags: number; readonly checksum?: 'wrong'; readonly answered: boolean }>> = {
  SYN: { flags: FLAG.syn, answered: true },
  'SYN with ECN': { flags: FLAG.syn | FLAG.ece | FLAG.cwr, answered: true },
  'SYN, PSH, URG': { flags: FLAG.syn | FLAG.psh | FLAG.urg, answered: true },
  'SYN, FIN': { flags: FLAG.syn | FLAG.fin, answered: false },
  'SYN with a wrong checksum': { flags: FLAG.syn, checksum: 'wrong', answered: false },
  ACK: { flags: FLAG.ack, answered: true },
  FIN: { flags: FLAG.fin, answered: false },
  'FIN, PSH, URG': { flags: FLAG.fin | FLAG.psh | FLAG.urg, answered: false },
  'no flag at all': { flags: 0, answered: false },
  RST: { flags: FLAG.rst, answered: false },
};

describe(`${backendName()}: around the gate`, { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'around' });
  });
  after(() => stage?.close());

  /** Sends all of them at once, each from a port of its own; gives the names of those that something answered from the service's port. */
  const answered = async (
    at: 0 | 1,
    port: number,
    all: readonly (readonly [name: string, frames: (from: number) => readonly Uint8Array[]])[],
  ) => {
    const capture = await stage.server.capture({ direction: 'out', filter: `src port ${port}` });
    await deliver(
      stage.stranger,
      stage.server,
      all.flatMap(([, frames], nth) => frames(FIRST_PORT + nth)),
    );
    const seen = await capture.settle(stage.stranger.addresses()[at]);
    await capture.close();
    const ports = new Set(seen.map(({ ip }) => Buffer.from(ip).readUInt16BE(2 + (at === 0 ? ((ip[0] ?? 0) & 0x0f) * 4 : 40))));
    return all.flatMap(([name], nth) => (ports.has(FIRST_PORT + nth) ? [name] : []));
  };
  const shaped = (at: 0 | 1, segment: (from: number) => Segment) =>
    shapesOf(at).map(
      ({ name, frames }) =>
        [name, (from: number) => frames(pathBetween(stage.stranger, stage.server, at), segment(from), nextId())] as const,
    );
  const syn = (from: number): Segment => ({
    protocol: TCP,
    make: (path, checksum) => tcp(path, { from, to: PORT }, { flags: FLAG.syn, checksum }),
  });
  const hello = (from: number): Segment => ({
    protocol: UDP,
    make: (path, checksum) => udp(path, { from, to: UDP_PORT }, Buffer.from('is anybody in there?'), { checksum }),
  });
  const flagged = (at: 0 | 1) =>
    Object.entries(FLAGS).map(([name, { flags, checksum }]) => {
      const path = pathBetween(stage.stranger, stage.server, at);
      return [
        name,
        (from: number) => [frame(path, packet(path, TCP, tcp(path, { from, to: PORT }, { flags, checksum: checksum ?? 'right' })))],
      ] as const;
    });

  for (const { family, at } of FAMILIES) {
    test(`no shape of a SYN or of a datagram is answered through it, over ${family}`, async () => {
      assert.deepEqual(await answered(at, PORT, shaped(at, syn)), []);
      assert.deepEqual(await answered(at, UDP_PORT, shaped(at, hello)), []);
    });

    test(`no flags of TCP are answered through it, over ${family}`, async () => {
      assert.deepEqual(await answered(at, PORT, flagged(at)), []);
    });
  }

  test('without it, every shape that the kernel takes is answered', async () => {
    await stage.postern.posternd(['gate', 'down']);
    for (const { at } of FAMILIES) {
      const taken = shapesOf(at).filter(({ taken }) => taken !== false);
      const connecting = taken.filter(({ taken }) => typeof taken === 'boolean' || taken.syn.includes(at));
      assert.deepEqual(await answered(at, PORT, shaped(at, syn)), names(connecting));
      assert.deepEqual(await answered(at, UDP_PORT, shaped(at, hello)), names(taken));
      assert.deepEqual(
        await answered(at, PORT, flagged(at)),
        Object.keys(FLAGS).filter((name) => FLAGS[name]?.answered),
      );
    }
  });
});

/** With iptables no capture has a sieve before it, and the short run takes one. */
const CAPTURES = isNftables() || process.env['POSTERN_ATTACK'] === 'full' ? (['nflog', 'raw', 'udp'] as const) : (['nflog'] as const);

for (const capture of CAPTURES) {
  describe(`${backendName()}, capture: ${capture}: to the knock port`, { skip, timeout: 120_000 }, () => {
    let stage: Stage;
    let alice: Mint;
    let bob: Mint;
    const crowd: Knocker[] = [];
    before(async () => {
      // As the host answers any closed port: with `drop`, raw can have no part in it.
      stage = await Stage.create({
        label: `shape${capture}`,
        start: false,
        config: { capture, ...(isNftables() ? {} : { unmatched: 'pass' }) },
      });
      // A true packet for each of 1,536 bits: 24 people with 64 knocks a minute.
      crowd.push(...(await Promise.all(Array.from({ length: 24 }, (_, nth) => Knocker.create(stage.client, `person${nth}`)))));
      stage.postern.writeRules(rulesFor([stage.alice, stage.bob, ...crowd]));
      await stage.postern.start();
      [alice, bob] = [new Mint(stage.alice, stage.postern), new Mint(stage.bob, stage.postern)];
    });
    after(async () => {
      for (const person of crowd) person.close();
      await stage?.close();
    });

    const opened = async () => openPorts((argv, options) => stage.server.exec(argv, options));
    /** A true knock by somebody else, sent last: when it is granted, all that was sent before it has been judged. */
    const judged = async () => {
      await stage.stranger.sendUdp(stage.server.ipv4(), KNOCK_PORT, [bob.packet()]);
      await waitFor(async () => (await opened()).some((line) => line.startsWith(`${stage.stranger.ipv4()} `)), { what: 'the last knock' });
    };

    for (const { family, at } of FAMILIES) {
      test(`a knock in any shape opens exactly where it is one whole datagram, over ${family}`, async () => {
        await stage.postern.posternd(['revoke', 'bob'], { mayFail: true });
        const shapes = shapesOf(at);
        // Each from an address of its own, so that the openings tell which it was.
        const source = (nth: number) => (at === 0 ? `10.77.1.${100 + nth}` : `fd00:77:1::${(0x100 + nth).toString(16)}`);
        const frames = shapes.flatMap((shape, nth) => {
          // As short as may be: iptables counts the bytes of extension headers to a knock's length.
          const knock = alice.packet({}, 'shortest');
          const segment: Segment = {
            protocol: UDP,
            make: (path, checksum) => udp(path, { from: FIRST_PORT, to: KNOCK_PORT }, knock, { checksum }),
          };
          return shape.frames(pathBetween(stage.client, stage.server, at, { from: source(nth) }), segment, nextId());
        });
        await deliver(stage.client, stage.server, frames);
        await judged();
        const lines = await opened();
        const got = shapes.filter((_, nth) => lines.some((line) => line.startsWith(`${source(nth)} `)));
        assert.deepEqual(names(got), names(shapes.filter((shape) => opensIn(shape, capture))));
        await stage.postern.posternd(['revoke', 'alice']);
        await stage.postern.posternd(['revoke', 'bob']);
      });
    }

    test('each single bit of a true packet flipped: none opens, each is judged by itself (P2)', async () => {
      const mints = crowd.map((person) => new Mint(person, stage.postern, SLOTS));
      const before_ = await stage.postern.status();
      const path = pathBetween(stage.client, stage.server, 0);
      const bits = 192 * 8;
      const frames = Array.from({ length: bits }, (_, bit) => {
        const knock = mints[Math.floor(bit / SLOTS)]?.packet({}, 'shortest') ?? new Uint8Array(0);
        assert.equal(knock.length, 192);
        knock[bit >> 3] = (knock[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        return frame(path, packet(path, UDP, udp(path, { from: FIRST_PORT, to: KNOCK_PORT }, knock)));
      });
      await deliver(stage.client, stage.server, frames);
      await judged();
      const after_ = await stage.postern.status();
      assert.equal(after_.knocks.granted, before_.knocks.granted + 1);
      const dropped = (reason: string) => (after_.knocks.dropped[reason] ?? 0) - (before_.knocks.dropped[reason] ?? 0);
      assert.equal(dropped('seal'), bits - 128);
      // A flipped tag is nobody's: the sieve's business, or the daemon's where there is none.
      if (lacks('sieve') === false) assert.equal(after_.kernel.junk - before_.kernel.junk, 128);
      else assert.equal(dropped('unknown-tag'), 128);
    });
  });
}

function nextId(): number {
  lastId += 1;
  return lastId;
}

function shapesOf(at: 0 | 1): readonly Shape[] {
  return SHAPES.filter(({ families }) => families.includes(at));
}

function names(shapes: readonly Shape[]): readonly string[] {
  return shapes.map(({ name }) => name);
}

function opensIn({ knock }: Shape, capture: 'nflog' | 'raw' | 'udp'): boolean {
  return typeof knock === 'boolean' ? knock : knock[capture];
}
