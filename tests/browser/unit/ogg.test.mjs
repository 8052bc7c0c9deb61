import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { OggDemuxer, OggMuxer, crc32, opusHead, packetSamples } from "../../../crates/moshi-backend/web/ogg.js";

// Written by opusenc: 40 ms packets, many to a page, the last page cut short by its granule position.
const file = new Uint8Array(readFileSync(new URL("hello.opus", import.meta.url)));

/** A reader with nothing in common with the demuxer but the format: whole file, no damage. */
function packetsOf(bytes) {
  const packets = [];
  let packet = [];
  let at = 0;
  while (at < bytes.length) {
    const segments = bytes[at + 26];
    let body = at + 27 + segments;
    for (let i = 0; i < segments; i++) {
      const lacing = bytes[at + 27 + i];
      packet.push(...bytes.subarray(body, body + lacing));
      body += lacing;
      if (lacing < 255) {
        packets.push(Uint8Array.from(packet));
        packet = [];
      }
    }
    at = body;
  }
  return packets;
}

const audioPackets = packetsOf(file).slice(2);

function demux(bytes, pieceLength) {
  const demuxer = new OggDemuxer();
  const packets = [];
  for (let at = 0; at < bytes.length; at += pieceLength) packets.push(...demuxer.push(bytes.subarray(at, at + pieceLength)));
  return { demuxer, packets: packets.map((packet) => packet.data), granules: packets.map((packet) => packet.granule) };
}

function mux(packets, options) {
  const muxer = new OggMuxer(options);
  return [muxer.headers(), ...packets.map((packet) => muxer.page(packet))];
}

function joined(parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

test("the checksum is Ogg's", () => {
  // CRC-32 with Ogg's polynomial, unreflected, zero start, of the usual check string.
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0x89a1897f);
});

test("a real file gives the same packets however its bytes are split", () => {
  assert.ok(audioPackets.length > 20);
  for (const length of [1, 7, 100, 1000, file.length]) {
    const { demuxer, packets } = demux(file, length);
    assert.deepEqual(packets, audioPackets, `pieces of ${length}`);
    assert.equal(demuxer.damaged, 0);
  }
});

test("what the muxer writes, the demuxer reads back, one packet and one granule a page", () => {
  const { demuxer, packets, granules } = demux(joined(mux(audioPackets)), 333);
  assert.deepEqual(packets, audioPackets);
  assert.deepEqual(granules.slice(0, 3), [1920, 3840, 5760]);
  assert.deepEqual([demuxer.damaged, demuxer.lostPages, demuxer.streams], [0, 0, 1]);
});

test("packets of every awkward length survive", () => {
  const odd = [1, 2, 254, 255, 256, 509, 510, 511, 1275].map((n) => Uint8Array.from({ length: n }, (_, i) => (i * 31 + n) & 255));
  assert.deepEqual(demux(joined(mux(odd)), 64).packets, odd);
});

test("the first page is the head alone, marked as the beginning; audio starts on page 2", () => {
  const [headers, audio] = mux(audioPackets.slice(0, 1), { serial: 7 });
  assert.equal(headers[5], 2);
  assert.deepEqual(headers.subarray(28, 47), opusHead());
  assert.equal(new DataView(audio.buffer).getUint32(18, true), 2);
  assert.equal(new DataView(audio.buffer).getUint32(14, true), 7);
});

test("a damaged page costs its own packet and nothing else", () => {
  const pages = mux(audioPackets.slice(0, 10));
  pages[4][40] ^= 0xff;
  const { demuxer, packets } = demux(joined(pages), 50);
  assert.deepEqual(packets, [...audioPackets.slice(0, 3), ...audioPackets.slice(4, 10)]);
  assert.equal(demuxer.damaged, 1);
  assert.equal(demuxer.lostPages, 1);
});

test("rubbish before, between and after pages is stepped over", () => {
  const pages = mux(audioPackets.slice(0, 6));
  const rubbish = new TextEncoder().encode("OggO not a page OgOggg");
  const { packets } = demux(joined([rubbish, ...pages.slice(0, 3), rubbish, ...pages.slice(3), rubbish]), 17);
  assert.deepEqual(packets, audioPackets.slice(0, 6));
});

test("a second stream chained to the first goes on with its packets", () => {
  const first = mux(audioPackets.slice(0, 4), { serial: 1 });
  const second = mux(audioPackets.slice(4, 8), { serial: 2 });
  const { demuxer, packets } = demux(joined([...first, ...second]), 90);
  assert.deepEqual(packets, audioPackets.slice(0, 8));
  assert.equal(demuxer.streams, 2);
  assert.equal(demuxer.lostPages, 0);
});

test("joining in the middle of a packet gives no half packet", () => {
  const tail = Uint8Array.from([5, 6, 7]);
  // A page that continues a packet never seen, then holds a whole one.
  const page = new OggMuxer({ serial: 9 });
  page.headers();
  const bytes = page.page(Uint8Array.from([1, 2, 3, 4]));
  const continued = Uint8Array.from([...bytes.subarray(0, 26), 2, 4, 3, ...bytes.subarray(28), ...tail]);
  continued[5] = 1;
  new DataView(continued.buffer).setUint32(22, 0);
  new DataView(continued.buffer).setUint32(22, crc32(continued), true);
  assert.deepEqual(demux(continued, 10).packets, [tail]);
});

test("packet durations follow the table of contents", () => {
  assert.equal(packetSamples(Uint8Array.from([0x08])), 960); // SILK 20 ms
  assert.equal(packetSamples(Uint8Array.from([0x78])), 960); // hybrid 20 ms
  assert.equal(packetSamples(Uint8Array.from([0xf8])), 960); // CELT 20 ms
  assert.equal(packetSamples(Uint8Array.from([0x10])), 1920); // SILK 40 ms
  assert.equal(packetSamples(Uint8Array.from([0xf9])), 1920); // two CELT frames
  assert.equal(packetSamples(Uint8Array.from([0xfb, 3])), 2880); // a counted three
  assert.equal(packetSamples(new Uint8Array(0)), 0);
});

test("random bytes never throw and never grow without bound", () => {
  let seed = 12345;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  const demuxer = new OggDemuxer();
  for (let round = 0; round < 300; round++) {
    const bytes = Uint8Array.from({ length: random() % 900 }, () => random() & 255);
    if (round % 3 === 0 && bytes.length > 30) bytes.set([0x4f, 0x67, 0x67, 0x53, 0]);
    demuxer.push(bytes);
  }
  assert.ok(demuxer.rest.length <= 65307);
});
