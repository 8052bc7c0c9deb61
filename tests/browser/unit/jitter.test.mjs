import assert from "node:assert/strict";
import { test } from "node:test";

import { JitterBuffer } from "../../../crates/moshi-backend/web/jitter.js";

const RATE = 24000;
const QUANTUM = 128;
const FRAME = 1920;

/** Frames of a counting ramp: every sample says where in the stream it lies. */
function ramp(start, length = FRAME) {
  return Float32Array.from({ length }, (_, i) => (start + i) * 1e-6 + 0.1);
}

/** Runs `seconds` of playing; `arrivals` are the times in seconds at which frames come. */
function run(buffer, arrivals, seconds, frame = (k) => ramp(k * FRAME)) {
  const heard = [];
  const levels = [];
  let next = 0;
  for (let t = 0; t < seconds * RATE; t += QUANTUM) {
    while (next < arrivals.length && arrivals[next] * RATE <= t) buffer.push(frame(next++));
    const out = new Float32Array(QUANTUM);
    buffer.pull(out);
    heard.push(...out);
    levels.push(buffer.level);
  }
  return { heard, levels };
}

const even = (count, from = 0) => Array.from({ length: count }, (_, k) => from + k * 0.08);

function accountsForEverySample(buffer) {
  assert.equal(buffer.received, buffer.position + buffer.level, "received = played + dropped + trimmed + waiting");
}

test("frames on time play without a gap, a margin after the first", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  const { heard } = run(buffer, even(50, 0.1), 4);
  assert.equal(buffer.underruns, 0);
  assert.equal(buffer.drops, 0);
  const first = heard.findIndex((x) => x !== 0) / RATE;
  assert.ok(first >= 0.124 && first <= 0.14, `began after ${first} s`);
  const audio = heard.slice(Math.round((first + 0.01) * RATE));
  for (let i = 1; i < audio.length; i++) assert.ok(Math.abs(audio[i] - audio[i - 1] - 1e-6) < 1e-7, `a jump at ${i}`);
  accountsForEverySample(buffer);
});

test("arrival times that wander within the margin are not heard", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  const wander = even(100, 0.1).map((t, k) => t + (k === 0 ? 0 : ((k * 7919) % 20) / 1000));
  run(buffer, wander, 8);
  assert.equal(buffer.underruns, 0);
  accountsForEverySample(buffer);
});

test("a late frame is one underrun, and the audio goes on where it stopped", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  const late = even(20, 0).map((t, k) => (k < 10 ? t : t + 0.1));
  const { heard } = run(buffer, late, 1.7);
  assert.equal(buffer.underruns, 1);
  assert.equal(buffer.drops, 0);
  const audio = heard.filter((x, i) => x > 0.1 && heard[i - 100] > 0.1 && heard[i + 100] > 0.1); // without the fades
  for (let i = 1; i < audio.length; i++) assert.ok(audio[i] > audio[i - 1], "never backwards");
  accountsForEverySample(buffer);
});

test("a stall followed by a burst drops the oldest and is prompt again", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  const stalled = even(60).map((t) => (t > 1 && t < 2 ? 2 : t));
  const { levels } = run(buffer, stalled, 3);
  assert.equal(buffer.drops > 0, true);
  assert.ok(buffer.droppedSamples > 0.5 * RATE);
  for (const level of levels) assert.ok(level <= buffer.limit, `${level} waiting`);
  accountsForEverySample(buffer);
});

test("no burst, however large, makes the wait longer than the limit", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  for (let k = 0; k < 200; k++) buffer.push(ramp(k * FRAME));
  assert.ok(buffer.level <= buffer.limit);
  const out = new Float32Array(QUANTUM);
  buffer.pull(out);
  const newest = ramp(199 * FRAME)[FRAME - 1];
  const heard = out[QUANTUM - 1];
  assert.ok(newest - heard <= 1e-6 * buffer.limit, "what plays is recent");
  accountsForEverySample(buffer);
});

test("an excess too small to drop is taken out of a quiet moment, and only there", () => {
  const quietFrom = 50;
  const frame = (k) => (k < quietFrom ? ramp(k * FRAME) : new Float32Array(FRAME));
  const buffer = new JitterBuffer({ rate: RATE });
  // One frame too many from the start: 80 ms of lag that nothing needs.
  const arrivals = [0, ...even(100)];
  run(buffer, arrivals, 3.9, frame);
  assert.equal(buffer.trimmedSamples, 0, "nothing is taken from speech");
  assert.equal(buffer.droppedSamples, 0);
  run(buffer, even(50), 4, () => new Float32Array(FRAME));
  assert.ok(buffer.trimmedSamples > 0.04 * RATE, `${buffer.trimmedSamples} trimmed`);
  assert.equal(buffer.underruns, 0);
  accountsForEverySample(buffer);
});

test("cuts fade instead of clicking", () => {
  const loud = () => new Float32Array(FRAME).fill(0.5);
  const buffer = new JitterBuffer({ rate: RATE });
  const { heard } = run(buffer, [0, 0.08, 0.5, 0.58], 0.9, loud);
  let steepest = 0;
  for (let i = 1; i < heard.length; i++) steepest = Math.max(steepest, Math.abs(heard[i] - heard[i - 1]));
  assert.ok(steepest < 0.02, `a step of ${steepest}`);
});

test("any order of pushes and pulls keeps the account and the bounds", () => {
  let seed = 99;
  const random = (n) => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 8) % n;
  for (let round = 0; round < 50; round++) {
    const buffer = new JitterBuffer({ rate: [16000, 24000, 44100, 48000][random(4)] });
    for (let step = 0; step < 500; step++) {
      if (random(3) === 0) buffer.push(new Float32Array(random(6000)).fill(random(2) ? 0.3 : 0));
      else {
        const out = new Float32Array([128, 1, 500][random(3)]).fill(9);
        const count = buffer.pull(out);
        assert.ok(count <= out.length && out.every((x) => Math.abs(x) <= 0.6));
      }
      assert.ok(buffer.level >= 0 && buffer.level <= buffer.limit);
      accountsForEverySample(buffer);
    }
  }
});

test("underruns widen the margin, and calm narrows it again", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  const narrow = buffer.margin;
  run(buffer, even(30).map((t, k) => t + (k % 10 === 9 ? 0.07 : 0)), 2.5);
  const wide = buffer.margin;
  assert.ok(wide > narrow);
  assert.ok(buffer.underruns > 0 && buffer.underruns < 3, "a widened margin carries the same lateness");
  run(buffer, even(1000), 80);
  assert.equal(buffer.margin, narrow);
});

test("a reset forgets audio and counters", () => {
  const buffer = new JitterBuffer({ rate: RATE });
  run(buffer, even(5), 1);
  buffer.reset();
  assert.deepEqual([buffer.level, buffer.played, buffer.underruns, buffer.playing], [0, 0, 0, false]);
});
