// The messages of /api/chat: byte 0 is the type, the rest the payload, integers little-endian.
// Pure: bytes in, values out. Unknown or broken messages become a value that says so; nothing here throws on input.

const MessageType = Object.freeze({
  HANDSHAKE: 0,
  AUDIO: 1,
  TEXT: 2,
  CONTROL: 3,
  METADATA: 4,
  ERROR: 5,
  PING: 6,
  COLOURED_TEXT: 7,
});

const CONTROLS = ["start", "end-turn", "pause", "restart"];

/** Sample rate of the model, of raw PCM on the wire and of everything this page counts. */
export const WIRE_RATE = 24000;

/**
 * The sampling parameters that go into the query string, under the names that Moshi web clients use.
 * `usual` is the published default, null where there is none. What a person does not set is left to the server, which
 * knows what suits its model.
 */
export const SAMPLING = Object.freeze([
  { name: "text_temperature", label: "Words: temperature", min: 0, max: 2, step: 0.05, usual: 0.7 },
  { name: "text_topk", label: "Words: top-k", min: 0, max: 500, step: 1, usual: 25 },
  { name: "audio_temperature", label: "Voice: temperature", min: 0, max: 2, step: 0.05, usual: 0.8 },
  { name: "audio_topk", label: "Voice: top-k", min: 0, max: 2048, step: 1, usual: 250 },
  { name: "top_p", label: "Top-p", min: 0.05, max: 1, step: 0.05, usual: 1 },
  { name: "pad_mult", label: "Pause bias", min: -4, max: 4, step: 0.1, usual: 0 },
  { name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 2, step: 0.01, usual: 1 },
  { name: "repetition_penalty_context", label: "Penalty remembers", min: 0, max: 200, step: 1, usual: 64 },
  { name: "text_seed", label: "Words: seed", min: 0, max: 4294967295, step: 1, usual: null },
  { name: "audio_seed", label: "Voice: seed", min: 0, max: 4294967295, step: 1, usual: null },
]);

/** A message that shows that the caller lives. */
export const PING = Uint8Array.of(MessageType.PING);

/** An audio message around `payload` (whole Ogg pages, or s16le samples). */
export function encodeAudio(payload) {
  const message = new Uint8Array(payload.length + 1);
  message[0] = MessageType.AUDIO;
  message.set(payload, 1);
  return message;
}

/**
 * Reads one message.
 * Returns `{ kind, ... }` with kind one of handshake, audio, text, control, metadata, error, ping, invalid.
 */
export function decodeMessage(buffer) {
  const bytes = buffer instanceof Uint8Array ? buffer : new Uint8Array(buffer);
  if (bytes.length === 0) return invalid("an empty message");
  const payload = bytes.subarray(1);
  switch (bytes[0]) {
    case MessageType.HANDSHAKE:
      return decodeHandshake(payload);
    case MessageType.AUDIO:
      return { kind: "audio", payload };
    case MessageType.TEXT:
      return { kind: "text", text: utf8(payload), colour: null };
    case MessageType.CONTROL:
      return payload.length === 1 && payload[0] < CONTROLS.length
        ? { kind: "control", action: CONTROLS[payload[0]] }
        : invalid(`a control message with bytes [${payload}]`);
    case MessageType.METADATA:
      return decodeMetadata(payload);
    case MessageType.ERROR:
      return { kind: "error", text: utf8(payload) };
    case MessageType.PING:
      return { kind: "ping" };
    case MessageType.COLOURED_TEXT:
      return payload.length > 0
        ? { kind: "text", text: utf8(payload.subarray(1)), colour: payload[0] }
        : invalid("coloured text without a colour");
    default:
      return invalid(`message type ${bytes[0]}`);
  }
}

// Servers send two u32 versions, or nothing at all after the type; both mean "ready".
function decodeHandshake(payload) {
  if (payload.length < 8) return { kind: "handshake", protocol: null, model: null };
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return { kind: "handshake", protocol: view.getUint32(0, true), model: view.getUint32(4, true) };
}

function decodeMetadata(payload) {
  try {
    const value = JSON.parse(utf8(payload));
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return { kind: "metadata", value };
  } catch {
    // Falls through: not JSON.
  }
  return invalid("metadata that is not a JSON object");
}

function utf8(bytes) {
  return new TextDecoder().decode(bytes);
}

function invalid(reason) {
  return { kind: "invalid", reason };
}

/** The subprotocols to offer: a browser's WebSocket can send no other header, so a key travels as one of them. */
export function subprotocols(key) {
  return key ? ["rustymoshi", `rustymoshi-key.${key}`] : [];
}

/**
 * The address of the call: `api/chat` beside the page, so that the page also works behind a path prefix.
 * `sampling` maps parameter names to numbers or null; `format` is "opus" or "pcm"; `part` is who a model that plays roles
 * is to be: a voice and a role, where empty ones are left to the server.
 */
export function chatUrl(pageUrl, sampling, format, part = {}) {
  const url = new URL("api/chat", pageUrl);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  url.search = "";
  for (const { name } of SAMPLING) {
    const value = sampling[name];
    if (typeof value === "number" && Number.isFinite(value)) url.searchParams.set(name, String(value));
  }
  if (part.voice) url.searchParams.set("voice_prompt", part.voice);
  if (part.role?.trim()) url.searchParams.set("text_prompt", part.role.trim());
  if (format === "pcm") url.searchParams.set("format", "pcm");
  return url;
}
