// Between samples at 24 kHz and what an audio message carries: Ogg Opus by the browser's own codec, or raw s16le.
//
// A sender has `headers()` (bytes to send first, or null), `push(samples)`, `close()` and calls `onPayload(bytes)`.
// A receiver has `push(payload)`, `close()` and calls `onAudio({ pcm, rate, position })`, with `position` the time in
// seconds, in the server's stream, of the first sample.

import { guard } from "./guard.js";
import { OggDemuxer, OggMuxer, packetSamples } from "./ogg.js";
import { WIRE_RATE } from "./protocol.js";

const ENCODER = {
  codec: "opus",
  sampleRate: WIRE_RATE,
  numberOfChannels: 1,
  bitrate: 32000,
  // Microseconds. One packet per 20 ms chunk of the microphone; discontinuous transmission would starve the model.
  opus: { format: "opus", frameDuration: 20000, application: "voip", usedtx: false },
};

// Without a description the packets are bare, and the decoder cuts nothing off the beginning: servers announce a long
// pre-skip that no client of theirs applies.
const DECODER = { codec: "opus", sampleRate: 48000, numberOfChannels: 1 };

/** A forward jump of the granule position up to this long means audio that the server left out. */
const LONGEST_GAP_SECONDS = 30;

/** A decoder that fails so often in a row, about half a second, decodes nothing at all. */
const MOST_FAILURES = 12;

/** Whether this browser encodes and decodes Opus as the wire needs it. */
export async function opusSupported() {
  if (!("AudioEncoder" in globalThis) || !("AudioDecoder" in globalThis)) return false;
  try {
    const answers = await Promise.all([AudioEncoder.isConfigSupported(ENCODER), AudioDecoder.isConfigSupported(DECODER)]);
    return answers.every((answer) => answer.supported);
  } catch {
    return false;
  }
}

/** The format of the wire for what a person wishes, "auto", "opus" or "pcm"; null if this browser cannot have it. */
export async function chooseFormat(wish) {
  if (wish === "pcm" || !(await opusSupported())) return wish === "opus" ? null : "pcm";
  return "opus";
}

/** Both ends in `format`; `send(payload)`, `play(audio)`, and `failed(error)` when the browser's codec has failed for good. */
export function openCodecs(format, { send, play, failed }) {
  if (format === "pcm") return { sender: new PcmSender(send), receiver: new PcmReceiver(play) };
  const sender = new OpusSender(send, failed);
  try {
    return { sender, receiver: new OpusReceiver(play, failed) };
  } catch (error) {
    sender.close();
    throw error;
  }
}

export class OpusSender {
  /** `onError(error)` when the browser's encoder has failed for good. */
  constructor(onPayload, onError) {
    this.muxer = new OggMuxer({ inputRate: WIRE_RATE });
    this.samples = 0;
    this.onError = onError;
    this.encoder = new AudioEncoder({
      output: guard((chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        onPayload(this.muxer.page(packet));
      }, onError),
      error: onError,
    });
    this.encoder.configure(ENCODER);
  }

  headers() {
    return this.muxer.headers();
  }

  push(samples) {
    if (this.encoder.state !== "configured") return;
    guard(() => this.#encode(samples), this.onError)();
  }

  #encode(samples) {
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: WIRE_RATE,
      numberOfFrames: samples.length,
      numberOfChannels: 1,
      timestamp: Math.round((this.samples * 1e6) / WIRE_RATE),
      data: samples,
    });
    this.samples += samples.length;
    this.encoder.encode(data);
    data.close();
  }

  close() {
    if (this.encoder.state !== "closed") this.encoder.close();
  }
}

export class OpusReceiver {
  /** `onError(error)` when the browser's decoder has failed for good. */
  constructor(onAudio, onError) {
    this.onAudio = onAudio;
    this.onError = onError;
    this.demuxer = new OggDemuxer();
    /** Where the next packet begins, in 48 kHz samples. */
    this.granule = 0;
    /** Seconds of its answer that the server left out (it says so by its granule positions). */
    this.skipped = 0;
    this.failures = 0;
    this.failuresInARow = 0;
    this.#open();
  }

  get damaged() {
    return this.demuxer.damaged + this.failures;
  }

  #open() {
    this.decoder = new AudioDecoder({
      output: guard((data) => {
        this.failuresInARow = 0;
        const pcm = new Float32Array(data.numberOfFrames);
        data.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
        const audio = { pcm, rate: data.sampleRate, position: data.timestamp / 1e6 };
        data.close();
        this.onAudio(audio);
      }, this.onError),
      error: guard((error) => this.#failed(error), this.onError),
    });
    this.decoder.configure(DECODER);
  }

  /** A packet that cannot be decoded closes the decoder: the next one goes on, unless it is none that fails. */
  #failed(error) {
    this.failures += 1;
    this.failuresInARow += 1;
    if (this.failuresInARow > MOST_FAILURES) this.onError(error);
    else this.#open();
  }

  push(payload) {
    for (const { data, granule } of this.demuxer.push(payload)) this.#decode(data, granule);
  }

  #decode(data, granule) {
    const length = packetSamples(data);
    const gap = granule === null ? 0 : granule - length - this.granule;
    if (gap > 0 && gap < LONGEST_GAP_SECONDS * 48000) {
      this.granule += gap;
      this.skipped += gap / 48000;
    }
    const timestamp = Math.round((this.granule * 1e6) / 48000);
    this.granule += length;
    if (this.decoder.state !== "configured" || length === 0) return;
    this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data }));
  }

  close() {
    if (this.decoder.state !== "closed") this.decoder.close();
  }
}

/** Raw samples, for browsers without WebCodecs: s16le, mono, 24 kHz. */
export class PcmSender {
  constructor(onPayload) {
    this.onPayload = onPayload;
  }

  headers() {
    return null;
  }

  push(samples) {
    this.onPayload(encodePcm(samples));
  }

  close() {}
}

export class PcmReceiver {
  constructor(onAudio) {
    this.onAudio = onAudio;
    this.samples = 0;
    this.skipped = 0;
    this.damaged = 0;
  }

  push(payload) {
    const pcm = decodePcm(payload);
    if (payload.length % 2 === 1) this.damaged += 1;
    if (pcm.length === 0) return;
    this.onAudio({ pcm, rate: WIRE_RATE, position: this.samples / WIRE_RATE });
    this.samples += pcm.length;
  }

  close() {}
}

/** Samples between -1 and 1 as s16le; what lies outside is clipped. */
export function encodePcm(samples) {
  const bytes = new Uint8Array(2 * samples.length);
  const view = new DataView(bytes.buffer);
  samples.forEach((sample, i) => view.setInt16(2 * i, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true));
  return bytes;
}

/** The samples of s16le bytes; a last odd byte is left out. */
export function decodePcm(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}
