// One AudioContext and what runs in it: the capture, playback and recorder worklets.

import { WIRE_RATE } from "./protocol.js";

const WORKLETS = ["capture", "playback", "recorder"];
/** The worklets are files of the server's, which may be out of reach just then. */
const LOADING_MS = 10000;
/** The microphone's audio that is older than this when the page sees it, because the page was frozen or busy, is late. */
const LATE_SECONDS = 0.6;

const MONO = { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1], channelCount: 1, channelCountMode: "explicit" };

export class AudioGraph {
  /**
   * Makes a context; must happen in a click for the sound to be allowed.
   * Events: `onChunk(samples, late)` 480 samples of the microphone at 24 kHz, `onStats(stats)` and
   * `onPushed({ tag, waiting })` of the player, `onRecorded(samples, rate)` both voices in turn, 16 bits, and `onState()`
   * when the browser says that the context runs, or no longer does.
   */
  constructor(events) {
    this.events = events;
    this.#makeContext(WIRE_RATE);
  }

  #makeContext(sampleRate) {
    this.context = new AudioContext({ latencyHint: "interactive", ...(sampleRate && { sampleRate }) });
    this.context.onstatechange = () => this.events.onState();
    this.resume();
  }

  get state() {
    return this.context.state;
  }

  /** Asks for the sound; it is refused while the system has given it to something else. */
  async resume() {
    try {
      await this.context.resume();
    } catch {
      // The moments to try again are those of moments.js.
    }
  }

  /** Joins the microphone's stream and the worklets. */
  async build(stream, { record, output, muted }) {
    try {
      this.#join(stream);
    } catch {
      // Firefox joins a microphone only to a context at the device's own rate; the worklets resample.
      this.#closeContext();
      this.#makeContext(undefined);
      this.#join(stream);
    }
    await within(LOADING_MS, Promise.all(WORKLETS.map((name) => this.#load(name))));
    if (this.closed) return;
    this.#connect();
    if (record) this.#record();
    this.setMuted(muted);
    await this.setOutput(output);
  }

  #load(name) {
    return this.context.audioWorklet.addModule(new URL(`${name}-worklet.js`, import.meta.url));
  }

  #join(stream) {
    this.source?.disconnect();
    this.source = this.context.createMediaStreamSource(stream);
    if (this.capture) this.source.connect(this.capture);
  }

  #connect() {
    const { context, events } = this;
    this.capture = new AudioWorkletNode(context, "moshi-capture", { ...MONO, numberOfOutputs: 2, outputChannelCount: [1, 1] });
    this.capture.port.onmessage = ({ data: { samples, time } }) => {
      events.onChunk(samples, context.currentTime - time > LATE_SECONDS);
    };
    this.playback = new AudioWorkletNode(context, "moshi-playback", { ...MONO, numberOfInputs: 0 });
    this.playback.port.onmessage = ({ data }) => (data.type === "stats" ? events.onStats(data) : events.onPushed(data));
    // The capture worklet plays silence; browsers run only what leads to the destination.
    this.source.connect(this.capture).connect(context.destination);
    this.playback.connect(context.destination);
  }

  /** Both voices into one recorder, the caller left, the agent right. */
  #record() {
    const { context } = this;
    const both = context.createChannelMerger(2);
    this.capture.connect(both, 1, 0);
    this.playback.connect(both, 0, 1);
    this.recorder = new AudioWorkletNode(context, "moshi-recorder", { numberOfInputs: 1, numberOfOutputs: 1, channelCount: 2, channelCountMode: "explicit" });
    this.recorder.port.onmessage = ({ data }) => this.events.onRecorded(data, context.sampleRate);
    both.connect(this.recorder).connect(context.destination);
  }

  /** Takes another stream of the microphone. Throws where it does not fit the context. */
  setStream(stream) {
    this.#join(stream);
  }

  /** Chooses the loudspeaker where the browser lets a page choose. */
  async setOutput(deviceId) {
    if (!("setSinkId" in AudioContext.prototype)) return;
    try {
      await this.context.setSinkId(deviceId || "");
    } catch {
      await this.context.setSinkId("").catch(() => {});
    }
  }

  setMuted(muted) {
    this.capture?.port.postMessage({ type: "mute", muted });
  }

  /** Queues audio for playing; `tag` comes back with `onPushed`. */
  play(pcm, rate, tag) {
    this.playback?.port.postMessage({ type: "audio", pcm, rate, tag }, [pcm.buffer]);
  }

  /** Forgets what waits to be played, and the player's counters. */
  resetPlayer() {
    this.playback?.port.postMessage({ type: "reset" });
  }

  /** Seconds from the player's hands to the ear, as far as the browser knows. */
  get outputLatency() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  close() {
    this.closed = true;
    for (const node of [this.capture, this.playback, this.recorder]) {
      if (!node) continue;
      node.port.onmessage = null;
      node.port.postMessage({ type: "stop" });
    }
    this.source?.disconnect();
    this.#closeContext();
  }

  #closeContext() {
    const { context } = this;
    context.onstatechange = null;
    // A context that is out of order may never finish this.
    if (context.state !== "closed") context.close().catch(() => {});
  }
}

/** What `promise` gives, or an error after so many milliseconds. */
async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("the server did not send the page's audio worklets")), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
