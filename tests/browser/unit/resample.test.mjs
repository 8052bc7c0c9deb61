import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../../crates/moshi-backend/web/resample.js";

const tone = (rate, hertz, seconds) => Float32Array.from({ length: Math.round(rate * seconds) }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / rate));
const rms = (x) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

function convert(input, from, to, piece) {
  const resampler = new Resampler(from, to);
  const out = [];
  for (let at = 0; at < input.length; at += piece) out.push(...resampler.process(input.subarray(at, at + piece)));
  return Float32Array.from(out);
}

const PAIRS = [
  [48000, 24000],
  [24000, 48000],
  [44100, 24000],
  [24000, 44100],
  [16000, 24000],
  [24000, 24000],
];

test("a tone keeps its pitch, level and place in time at every pair of rates", () => {
  for (const [from, to] of PAIRS) {
    const out = convert(tone(from, 1000, 0.5), from, to, 128);
    const wanted = tone(to, 1000, 0.5);
    const middle = Math.floor(0.1 * to);
    for (let i = middle; i < 3 * middle; i++) {
      assert.ok(Math.abs(out[i] - wanted[i]) < 2e-3, `${from} -> ${to}, sample ${i}: ${out[i]} instead of ${wanted[i]}`);
    }
    assert.ok(Math.abs(out.length - wanted.length) < 0.01 * to, `${from} -> ${to}: ${out.length} samples`);
  }
});

test("any pieces give the same samples", () => {
  const input = tone(44100, 777, 0.2);
  const whole = convert(input, 44100, 24000, input.length);
  for (const piece of [1, 128, 441, 3840]) assert.deepEqual(convert(input, 44100, 24000, piece), whole);
});

test("what the lower rate cannot carry is gone rather than folded back", () => {
  const out = convert(tone(48000, 15000, 0.5), 48000, 24000, 3840);
  assert.ok(rms(out.subarray(1000, 8000)) < 0.5 * 10 ** (-60 / 20), `${20 * Math.log10(rms(out.subarray(1000, 8000)))} dB`);
});

test("rates that make no sense are refused", () => {
  assert.throws(() => new Resampler(0, 24000), RangeError);
  assert.throws(() => new Resampler(NaN, 24000), RangeError);
});
