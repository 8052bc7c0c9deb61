// The microphone and the loudspeaker: one AudioContext with a capture and a playback worklet.

import { WIRE_RATE } from "./protocol.js";

/** Why there is no microphone, in the words of help.js. */
export class MicrophoneError extends Error {
  constructor(help, cause) {
    super(cause?.message ?? help, { cause });
    this.help = help;
  }
}

/** What getUserMedia's errors mean to a person. */
function helpFor(error) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "no-permission";
    case "NotFoundError":
      return "no-microphone";
    case "NotReadableError":
    case "AbortError":
      return "microphone-busy";
    default:
      return "microphone-failed";
  }
}

export class AudioDevices {
  /**
   * Events: `onChunk(samples)` 480 samples of the microphone at 24 kHz; `onStats(stats)` and `onPushed({ tag, waiting })`
   * of the player; `onRecorded(samples, rate)` both voices in turn, 16 bits; `onMicrophoneLost()`; `onSuspended(flag)`
   * when the system takes the sound away or gives it back.
   */
  constructor(events) {
    this.events = events;
  }

  /** Asks for the microphone and starts both worklets. Must begin in a click for the sound to be allowed. */
  async open(settings) {
    this.settings = settings;
    this.context = makeContext(WIRE_RATE);
    const resumed = this.context.resume();
    try {
      this.stream = await openMicrophone(settings);
      await resumed;
      await this.#start();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #start() {
    try {
      this.source = this.context.createMediaStreamSource(this.stream);
    } catch {
      // Firefox joins a microphone only to a context at the device's own rate; the worklets resample.
      await this.context.close();
      this.context = makeContext(undefined);
      await this.context.resume();
      this.source = this.context.createMediaStreamSource(this.stream);
    }
    const { context } = this;
    context.onstatechange = () => this.#stateChanged();
    await Promise.all(["capture", "playback", "recorder"].map((name) => context.audioWorklet.addModule(new URL(`${name}-worklet.js`, import.meta.url))));
    const mono = { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1], channelCount: 1, channelCountMode: "explicit" };
    this.capture = new AudioWorkletNode(context, "moshi-capture", { ...mono, numberOfOutputs: 2, outputChannelCount: [1, 1] });
    this.capture.port.onmessage = ({ data }) => this.events.onChunk(data);
    this.playback = new AudioWorkletNode(context, "moshi-playback", { ...mono, numberOfInputs: 0 });
    this.playback.port.onmessage = ({ data }) => (data.type === "stats" ? this.events.onStats(data) : this.events.onPushed(data));
    // The capture worklet plays silence; browsers run only what leads to the destination.
    this.source.connect(this.capture).connect(context.destination);
    this.playback.connect(context.destination);
    if (this.settings.record) this.#record();
    this.#watchTrack();
    await this.setOutput(this.settings.output);
  }

  /** Both voices into one recorder, the caller left, the agent right. */
  #record() {
    const { context } = this;
    const both = context.createChannelMerger(2);
    this.capture.connect(both, 1, 0);
    this.playback.connect(both, 0, 1);
    const stereo = { numberOfInputs: 1, numberOfOutputs: 1, channelCount: 2, channelCountMode: "explicit" };
    this.recorder = new AudioWorkletNode(context, "moshi-recorder", stereo);
    this.recorder.port.onmessage = ({ data }) => this.events.onRecorded(data, context.sampleRate);
    both.connect(this.recorder).connect(context.destination);
  }

  #watchTrack() {
    for (const track of this.stream.getAudioTracks()) track.onended = () => this.events.onMicrophoneLost();
  }

  #stateChanged() {
    if (this.context.state === "closed") return;
    this.events.onSuspended(this.context.state !== "running");
    if (this.context.state !== "running") this.context.resume().catch(() => {});
  }

  /** Takes another microphone (or the same anew) without ending the call. */
  async replaceMicrophone(settings) {
    this.settings = settings;
    const old = this.stream;
    const stream = await openMicrophone(settings);
    this.source.disconnect();
    stopTracks(old);
    this.stream = stream;
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.capture);
    this.#watchTrack();
  }

  /** Chooses the loudspeaker where the browser lets a page choose. */
  async setOutput(deviceId) {
    if (!("setSinkId" in AudioContext.prototype) || !this.context) return;
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
    if (!this.context) return 0;
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  /** The name of the microphone in use. */
  get microphone() {
    return this.stream?.getAudioTracks()[0]?.label ?? "";
  }

  async close() {
    this.capture?.port.postMessage({ type: "stop" });
    this.playback?.port.postMessage({ type: "stop" });
    this.recorder?.port.postMessage({ type: "stop" });
    this.source?.disconnect();
    if (this.stream) stopTracks(this.stream);
    if (this.context && this.context.state !== "closed") {
      this.context.onstatechange = null;
      await this.context.close();
    }
    this.context = this.capture = this.playback = this.recorder = this.source = this.stream = undefined;
  }
}

function makeContext(sampleRate) {
  return new AudioContext({ latencyHint: "interactive", ...(sampleRate && { sampleRate }) });
}

/** The chosen microphone, or the default one if the chosen one is gone. */
async function openMicrophone(settings) {
  const { input, echoCancellation, noiseSuppression, autoGainControl } = settings;
  const wishes = { echoCancellation, noiseSuppression, autoGainControl, channelCount: 1 };
  try {
    try {
      return await getMicrophone(input ? { ...wishes, deviceId: { exact: input } } : wishes);
    } catch (error) {
      if (!input || error.name === "NotAllowedError") throw error;
      return await getMicrophone(wishes);
    }
  } catch (error) {
    throw new MicrophoneError(helpFor(error), error);
  }
}

function getMicrophone(audio) {
  return navigator.mediaDevices.getUserMedia({ audio });
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) {
    track.onended = null;
    track.stop();
  }
}

/** Microphones and loudspeakers by name; names are empty until the microphone was allowed once. */
export async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const named = (kind) => devices.filter((device) => device.kind === kind && device.deviceId && device.label);
  return { inputs: named("audioinput"), outputs: "setSinkId" in AudioContext.prototype ? named("audiooutput") : [] };
}

/** What keeps this page from ever hearing anyone, in the words of help.js; null if nothing does. */
export function missingFeature() {
  if (!globalThis.isSecureContext) return "insecure";
  if (!navigator.mediaDevices?.getUserMedia || !("AudioWorkletNode" in globalThis)) return "old-browser";
  return null;
}
