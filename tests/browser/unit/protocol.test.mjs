import assert from "node:assert/strict";
import { test } from "node:test";

import { SAMPLING, chatUrl, decodeMessage, encodeAudio } from "../../../crates/moshi-backend/web/protocol.js";

const bytes = (...parts) => Uint8Array.from(parts.flatMap((part) => (typeof part === "string" ? [...new TextEncoder().encode(part)] : [part])));

test("both spellings of the handshake are understood", () => {
  assert.deepEqual(decodeMessage(bytes(0)), { kind: "handshake", protocol: null, model: null });
  assert.deepEqual(decodeMessage(bytes(0, 1, 0, 0, 0, 2, 1, 0, 0)), { kind: "handshake", protocol: 1, model: 258 });
});

test("audio goes out with its type in front and comes back without it", () => {
  const message = encodeAudio(bytes(9, 8, 7));
  assert.deepEqual(message, bytes(1, 9, 8, 7));
  assert.deepEqual(decodeMessage(message.buffer), { kind: "audio", payload: bytes(9, 8, 7) });
});

test("words, plain and coloured, are UTF-8", () => {
  assert.deepEqual(decodeMessage(bytes(2, " café")), { kind: "text", text: " café", colour: null });
  assert.deepEqual(decodeMessage(bytes(7, 3, " so")), { kind: "text", text: " so", colour: 3 });
});

test("control, metadata, error and ping are told apart", () => {
  assert.deepEqual(decodeMessage(bytes(3, 1)), { kind: "control", action: "end-turn" });
  assert.deepEqual(decodeMessage(bytes(4, '{"text_topk": 25}')), { kind: "metadata", value: { text_topk: 25 } });
  assert.deepEqual(decodeMessage(bytes(5, "too late")), { kind: "error", text: "too late" });
  assert.deepEqual(decodeMessage(bytes(6)), { kind: "ping" });
});

test("what cannot be understood says so and does not throw", () => {
  for (const broken of [bytes(), bytes(8), bytes(255, 1), bytes(3), bytes(3, 9), bytes(4, "{"), bytes(4, "[1]"), bytes(4, "null"), bytes(7)]) {
    assert.equal(decodeMessage(broken).kind, "invalid");
  }
});

test("the call's address lies beside the page and carries what was set", () => {
  const usual = Object.fromEntries(SAMPLING.map(({ name, usual }) => [name, usual]));
  const url = chatUrl("https://example.org/voice/index.html?x=1#top", usual, "opus");
  assert.equal(url.origin, "wss://example.org");
  assert.equal(url.pathname, "/voice/api/chat");
  assert.equal(
    url.search,
    "?text_temperature=0.7&text_topk=25&audio_temperature=0.8&audio_topk=250&top_p=1&pad_mult=0&repetition_penalty=1&repetition_penalty_context=64",
  );
  const pcm = chatUrl("http://localhost:8998/", { text_seed: 5, audio_seed: null, pad_mult: NaN }, "pcm");
  assert.equal(pcm.href, "ws://localhost:8998/api/chat?text_seed=5&format=pcm");
});

test("who a model is to be travels under the names of the published program, and only where something was chosen", () => {
  const part = chatUrl("http://localhost:8998/", {}, "opus", { voice: "NATF0", role: " You are Ann. ", key: "k" });
  assert.equal(part.search, "?voice_prompt=NATF0&text_prompt=You+are+Ann.");
  assert.equal(chatUrl("http://localhost:8998/", {}, "opus", { voice: "", role: " " }).search, "");
});
