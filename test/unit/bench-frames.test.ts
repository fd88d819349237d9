// The frames that the flood benchmark sends are true IPv4 datagrams: junk that the receiver drops for a broken header would measure nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDatagram } from '../../daemon/capture/datagram.ts';
import { junkSource, pcapFile, trafgenText, udpFrame } from '../bench/flood/frames.ts';

const WAY = { from: { link: '02:00:00:00:00:01', ipv4: '10.77.1.3' }, to: { link: '02:00:00:00:00:02', ipv4: '10.77.1.1' }, port: 62_201 };
const ETHERNET_BYTES = 14;

test('a frame is a datagram with its payload, for every length, and both its checksums hold', () => {
  const { bytes } = junkSource(7);
  for (const length of [0, 1, 191, 192, 320, 448, 1400]) {
    const payload = bytes(length);
    const frame = udpFrame(WAY, 4711, payload);
    const packet = frame.subarray(ETHERNET_BYTES);
    const parsed = parseDatagram(packet);
    // A checksum that is there is verified.
    assert.notEqual(Buffer.from(packet).readUInt16BE(26), 0);
    assert.ok(parsed.ok, `${length}`);
    assert.deepEqual([parsed.datagram.sourcePort, Buffer.from(parsed.datagram.source.bytes).join('.')], [4711, WAY.from.ipv4]);
    assert.deepEqual(Buffer.from(parsed.datagram.payload), Buffer.from(payload));
    assert.equal(Buffer.from(packet).readUInt16BE(22), WAY.port);
    // RFC 1071: the sum over a header with its checksum is all ones.
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += Buffer.from(packet).readUInt16BE(at);
    assert.equal((sum & 0xffff) + (sum >>> 16), 0xffff);
    assert.equal(Buffer.from(frame.subarray(0, 6)).toString('hex'), '020000000002');
  }
});

test('the capture file holds every frame after a record header, and trafgen reads as many packets', () => {
  const frames = [1, 2, 3].map((length) => udpFrame(WAY, 1024, new Uint8Array(length).fill(length)));
  const file = Buffer.from(pcapFile(frames));
  let at = 24;
  for (const frame of frames) {
    assert.equal(file.readUInt32BE(at + 8), frame.length);
    assert.deepEqual(file.subarray(at + 16, at + 16 + frame.length), Buffer.from(frame));
    at += 16 + frame.length;
  }
  assert.equal(at, file.length);
  assert.equal(trafgenText(frames).match(/^\{ (0x[0-9a-f]{2},?)+ \}$/gm)?.length, frames.length);
});

test('the junk follows from its seed and is spread over all values', () => {
  assert.deepEqual(junkSource(1).bytes(64), junkSource(1).bytes(64));
  assert.notDeepEqual(junkSource(1).bytes(64), junkSource(2).bytes(64));
  assert.equal(new Set(junkSource(1).bytes(10_000)).size, 256);
});
