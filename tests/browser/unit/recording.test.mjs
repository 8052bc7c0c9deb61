import assert from "node:assert/strict";
import { test } from "node:test";

import { Recording } from "../../../crates/moshi-backend/web/recording.js";

const RATE = 24000;

test("a recording is a stereo WAV file of what was added, in order", async () => {
  const recording = new Recording(RATE);
  for (let i = 0; i < 250; i++) recording.add(new Int16Array(4800).fill(i));
  assert.equal(recording.seconds, 25);
  const bytes = Buffer.from(await recording.toWav().arrayBuffer());
  assert.equal(bytes.toString("latin1", 0, 4) + bytes.toString("latin1", 8, 16), "RIFFWAVEfmt ");
  assert.equal(bytes.readUInt32LE(4), bytes.length - 8);
  assert.deepEqual([bytes.readUInt16LE(20), bytes.readUInt16LE(22), bytes.readUInt32LE(24)], [1, 2, RATE]);
  assert.deepEqual([bytes.readUInt32LE(28), bytes.readUInt16LE(32), bytes.readUInt16LE(34)], [4 * RATE, 4, 16]);
  assert.equal(bytes.readUInt32LE(40), 250 * 9600);
  assert.equal(bytes.length, 44 + 250 * 9600);
  for (const i of [0, 100, 249]) assert.equal(bytes.readInt16LE(44 + 9600 * i), i);
});

test("a forgotten call fills no more than the longest recording", () => {
  const recording = new Recording(RATE, 1);
  for (let i = 0; i < 100; i++) recording.add(new Int16Array(4800));
  assert.ok(recording.full);
  assert.equal(recording.seconds, 1);
});
