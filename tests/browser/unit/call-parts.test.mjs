import assert from "node:assert/strict";
import { test } from "node:test";

import { decodePcm, encodePcm } from "../../../crates/moshi-backend/web/codec.js";
import { Backoff, SILENCE, diagnose } from "../../../crates/moshi-backend/web/connection.js";
import { meaningOf } from "../../../crates/moshi-backend/web/ending.js";
import { eachOf, guard } from "../../../crates/moshi-backend/web/guard.js";
import { HELP } from "../../../crates/moshi-backend/web/help.js";
import { LagMeter } from "../../../crates/moshi-backend/web/lag.js";
import { Smooth, loudness } from "../../../crates/moshi-backend/web/meter.js";
import { cleanSettings, defaultSettings, inRange } from "../../../crates/moshi-backend/web/settings.js";
import { Transcript, clock } from "../../../crates/moshi-backend/web/transcript.js";

test("raw samples survive the wire to within one step and clip at full scale", () => {
  const samples = Float32Array.from([0, 0.5, -0.5, 1, -1, 7, -7, 1 / 32768]);
  assert.deepEqual([...decodePcm(encodePcm(samples))], [0, 0.5, -0.5, 32767 / 32768, -1, 32767 / 32768, -1, 1 / 32768]);
  assert.equal(decodePcm(Uint8Array.from([0, 64, 9])).length, 1, "an odd byte is left out");
});

test("lag is the time between a moment of the voice and its answer, in three parts", () => {
  const lag = new LagMeter();
  assert.equal(lag.value, null);
  for (let frame = 0; frame < 30; frame++) {
    const captured = (frame + 1) * 0.08;
    lag.noteSent(captured, captured);
    // The frame's answer comes 20 ms after its last sample, in two pieces, and waits 25 ms.
    const now = captured + 0.02;
    lag.notePlaced(lag.noteArrival(frame * 0.08, now), 0.025, 0.01);
    lag.notePlaced(lag.noteArrival(frame * 0.08 + 0.04, now + 0.001), 0.065, 0.01);
  }
  const { way, waiting, output, total } = lag.value;
  assert.ok(Math.abs(way - 0.1) < 1e-9 && waiting === 0.025 && output === 0.01);
  assert.ok(Math.abs(total - 0.135) < 1e-9);
  lag.reset();
  assert.equal(lag.value, null);
});

test("waits grow to a quarter of a minute and never all alike", () => {
  const backoff = new Backoff(() => 0.5);
  const waits = Array.from({ length: 6 }, () => backoff.next());
  assert.deepEqual(waits, [1, 2, 4, 8, 15, 15]);
  backoff.reset();
  assert.equal(backoff.next(), 1);
  assert.notEqual(new Backoff(() => 0).next(), new Backoff(() => 1).next());
});

test("a refused call is explained by what the server says of itself", async () => {
  const server = (status, body) => async () => new Response(JSON.stringify(body), { status });
  const why = async (fetcher) => (await diagnose("http://localhost/", "ws://localhost/api/chat", "", fetcher)).help;
  assert.equal(await why(server(200, { state: "ready", sessions: 8, capacity: 8 })), "full");
  assert.equal(await why(server(200, { state: "ready", sessions: 3, capacity: 8 })), "refused");
  assert.equal(await why(server(200, { state: "draining", sessions: 8, capacity: 8 })), "draining");
  assert.equal(await why(server(200, { state: "failed" })), "failed");
  assert.equal(await why(async () => Promise.reject(new TypeError("Failed to fetch"))), "unreachable");
  assert.equal(await why(async () => new Response("<html>", { status: 502 })), "unreachable");
  assert.equal(await why(async () => new Response("<html>", { status: 404 })), "refused");
});

test("a refused call is explained by the server's own reason where it has one", async () => {
  const asked = [];
  const server = (chat) => async (url, { headers }) => {
    asked.push([url.href, headers.Authorization]);
    return url.pathname === "/status" ? Response.json({ state: "ready", sessions: 0, capacity: 8 }) : chat;
  };
  const why = (key, status, body) => diagnose("https://a.test/", "wss://a.test/api/chat?x=1", key, server(Response.json(body, { status })));
  assert.deepEqual(await why("", 401, { error: "unauthorized", reason: "no key" }), { help: "key", detail: "" });
  assert.equal((await why("wrong", 401, {})).detail, "The key in the settings is not one of its.");
  assert.deepEqual(asked.at(-1), ["https://a.test/api/chat?x=1", "Bearer wrong"]);
  const odd = { error: "parameter", reason: "audio_topk is -1" };
  assert.deepEqual(await why("", 400, odd), { help: "refused", detail: odd.reason });
  assert.equal((await why("", 426, { error: "not_a_websocket", reason: "no upgrade" })).detail, "");
});

test("the end of a connection means what its code and the moment say", () => {
  const means = (code, more = {}, error = null) => {
    const { what, help } = meaningOf({ opened: true, ready: true, code, reason: "", ...more }, error);
    return `${what} ${help}`;
  };
  for (const code of [1000, 4001]) assert.equal(means(code), "over ended");
  for (const code of [1005, 1006, 1012, SILENCE]) assert.equal(means(code), "broken lost");
  assert.equal(means(1001), "broken draining");
  // Also in line, before the handshake.
  for (const ready of [true, false]) {
    for (const code of [4000, 4002]) assert.equal(means(code, { ready }), "over idle");
    assert.equal(means(1013, { ready }), "refused full");
  }
  assert.equal(means(1011), "over call-error");
  assert.equal(means(1011, { ready: false }, "the model failed"), "over call-error");
  assert.equal(means(SILENCE, { ready: false }), "over silent");
  for (const code of [1006, SILENCE]) assert.equal(meaningOf({ opened: false, ready: false, code, reason: "" }, null).what, "unknown");
  assert.equal(meaningOf({ opened: true, ready: true, code: 1011, reason: "short" }, "long").detail, "long");
});

test("no error of a handler is lost, whenever it comes", async () => {
  const seen = [];
  const note = (error) => seen.push(error.message);
  guard(() => {
    throw new Error("now");
  }, note)();
  guard(async () => {
    throw new Error("later");
  }, note)();
  guard((a, b) => seen.push(a + b), note)(1, 2);
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(seen, ["now", 3, "later"]);
});

test("a step that fails does not keep the others from being taken", (context) => {
  context.mock.method(console, "error", () => {});
  const taken = [];
  eachOf(
    () => taken.push(1),
    () => {
      throw new Error("two");
    },
    () => taken.push(3),
  );
  assert.deepEqual(taken, [1, 3]);
});

test("every help names what happened and leaves the person something to do", () => {
  for (const [name, { title, text, steps, retry }] of Object.entries(HELP)) {
    assert.ok(title && text, name);
    assert.ok(steps.length > 0 || retry, name);
  }
});

test("settings from elsewhere are taken as far as they make sense", () => {
  assert.deepEqual(cleanSettings(null), defaultSettings());
  assert.deepEqual(cleanSettings("x"), defaultSettings());
  const odd = cleanSettings({
    theme: "pink",
    format: "pcm",
    echoCancellation: 1,
    noiseSuppression: false,
    stranger: 1,
    sampling: { text_temperature: 9, audio_temperature: 0.2, text_topk: 1.5, text_seed: 7, audio_seed: null },
  });
  const expected = { ...defaultSettings(), format: "pcm", noiseSuppression: false };
  expected.sampling = { ...expected.sampling, audio_temperature: 0.2, text_seed: 7 };
  assert.deepEqual(odd, expected);
});

test("a parameter may be left to the server but not be nonsense", () => {
  const parameter = { min: 0, max: 9, step: 1 };
  assert.deepEqual([null, 0, 9].map((value) => inRange(parameter, value)), [true, true, true]);
  assert.deepEqual([NaN, -1, 10, 1.5, "3", undefined].map((value) => inRange(parameter, value)), Array(6).fill(false));
});

test("words run on until a pause or a new call", () => {
  const transcript = new Transcript();
  assert.equal(transcript.empty, true);
  for (const [piece, at] of [[" ", 0.5], [" He", 1], ["llo", 1.08], [" you.", 1.4], [" So", 4], [" it is", 4.3]]) transcript.add(piece, at);
  transcript.breakHere();
  transcript.add(" Again", 65);
  assert.equal(transcript.toText(), "[0:01] Hello you.\n[0:04] So it is\n[1:05] Again\n");
});

test("times read as people write them", () => {
  assert.deepEqual([0, 9.9, 60, 3661].map(clock), ["0:00", "0:09", "1:00", "61:01"]);
});

test("silence shows nothing, full scale shows everything, and levels sink slowly", () => {
  assert.equal(loudness(0), 0);
  assert.equal(loudness(1e-5), 0);
  assert.equal(loudness(0.7), 1);
  assert.ok(loudness(0.05) > 0.2 && loudness(0.05) < 0.9);
  const smooth = new Smooth();
  const risen = smooth.next(1);
  assert.ok(risen > 0.5 && risen - smooth.next(0) < risen / 2);
});
