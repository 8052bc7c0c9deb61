// The microphone and the loudspeaker during a call, kept going: what the system takes away is asked for again until it is
// back, and an audio context that has died is replaced.

import { AudioGraph } from "./graph.js";
import { guard } from "./guard.js";
import { Microphone, listDevices } from "./microphone.js";
import { watchMoments } from "./moments.js";
import { Pulse, isPaused } from "./pulse.js";

/** What the player counts since it began; a player that takes the place of another counts on. */
const COUNTERS = ["energy", "underruns", "drops", "played", "silence", "dropped", "trimmed"];
const ZERO = Object.freeze(Object.fromEntries(COUNTERS.map((name) => [name, 0])));

/** The figures of a player that has not begun. */
export const SILENT_PLAYER = Object.freeze({ ...ZERO, rms: 0, playing: false, buffered: 0 });

export class AudioDevices {
  /**
   * Events: `onChunk(samples, late)` 480 samples of the microphone at 24 kHz, `late` when they are too old to be of use;
   * `onStats(stats)` and `onPushed({ tag, waiting })` of the player; `onRecorded(samples, rate)` both voices in turn, 16
   * bits; `onPause(name)` when sound or microphone are taken away (in the words of help.js) or given back (null);
   * `onNotice(text)`, `onError(error)`.
   */
  constructor(events) {
    this.events = events;
    this.pause = null;
    this.muted = false;
    this.#countFromZero();
    this.look = guard((moment) => this.#look(moment), (error) => this.events.onError(error));
    this.microphone = new Microphone({
      onChange: () => this.look(),
      onStream: (stream) => this.#useStream(stream),
    });
  }

  #countFromZero() {
    this.counted = ZERO;
    this.player = SILENT_PLAYER;
  }

  /** Asks for the microphone, and is done when the sound runs. Must begin in a click for the sound to be allowed. */
  async open(settings) {
    this.settings = settings;
    this.graph = this.#makeGraph();
    this.stopWatching = watchMoments(this.look);
    const running = new Promise((resolve) => (this.firstBeat = resolve));
    try {
      await this.microphone.open(settings);
      if (this.closed) return;
      await this.#build(this.graph);
      this.pulse = new Pulse(seconds());
      await running;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #makeGraph() {
    const { events } = this;
    // One that is built to take the place of another says nothing before it does.
    const current = (handle) => (...given) => graph === this.graph && handle(...given);
    const graph = new AudioGraph({
      onChunk: current((samples, late) => {
        this.#noteBeat("microphone");
        events.onChunk(samples, late);
      }),
      onStats: current((stats) => this.#noteStats(stats)),
      onPushed: current((pushed) => events.onPushed(pushed)),
      onRecorded: current((samples, rate) => events.onRecorded(samples, rate)),
      onState: current(() => this.look()),
    });
    return graph;
  }

  #build(graph) {
    const { record, output } = this.settings;
    return graph.build(this.microphone.stream, { record, output, muted: this.muted });
  }

  #noteBeat(part) {
    this.firstBeat?.();
    this.firstBeat = undefined;
    this.pulse?.beat(part, seconds());
    if (this.pause === "sound-paused") this.#look();
  }

  #noteStats(stats) {
    this.#noteBeat("player");
    this.player = { ...stats };
    for (const name of COUNTERS) this.player[name] += this.counted[name];
    this.events.onStats(this.player);
  }

  /** Sees how sound and microphone are, and does what may bring them back. */
  #look(moment = {}) {
    if (this.closed) return;
    const now = seconds();
    if (this.graph.state !== "running") this.graph.resume();
    const verdict = this.#judge(now, moment);
    this.microphone.look(now, moment);
    if (moment.devices) this.#followOutput();
    const pause = verdict === "well" ? this.microphone.trouble(now) : "sound-paused";
    if (pause === this.pause) return;
    this.pause = pause;
    this.events.onPause(pause);
  }

  #judge(now, { asked = false }) {
    if (!this.pulse) return "well"; // It has not begun.
    if (asked) this.pulse.ask(now);
    const verdict = this.pulse.judge(this.graph.state, now);
    // What a system pauses because nobody sees the page, it gives back when somebody does.
    if (document.visibilityState !== "visible" && isPaused(this.graph.state)) this.pulse.beLenient(now);
    else if (verdict === "dead") this.#replaceGraph();
    return verdict;
  }

  /** A new context in the place of one that has died. */
  async #replaceGraph() {
    if (this.replacing) return;
    this.replacing = true;
    let graph;
    try {
      graph = this.#makeGraph();
      await this.#build(graph);
      if (this.closed) graph.close();
      else this.#useGraph(graph);
    } catch (error) {
      console.warn("no new audio context:", error);
      graph?.close();
    } finally {
      this.replacing = false;
      this.pulse.noteReplaced(seconds());
    }
  }

  #useGraph(graph) {
    this.graph.close();
    this.graph = graph;
    // What was changed while it was built.
    graph.setMuted(this.muted);
    this.counted = Object.fromEntries(COUNTERS.map((name) => [name, this.player[name]]));
  }

  #useStream(stream) {
    this.events.onNotice(`Listening to “${this.microphone.label}” now.`);
    this.#joinStream(stream);
  }

  #joinStream(stream) {
    try {
      this.graph.setStream(stream);
    } catch {
      this.#replaceGraph(); // It has another rate.
    }
  }

  /** The chosen loudspeaker while it is there, the system's while it is not. */
  async #followOutput() {
    const { output } = this.settings;
    if (!output) return;
    const { outputs } = await listDevices();
    if (!this.closed) await this.graph.setOutput(outputs.some(({ deviceId }) => deviceId === output) ? output : "");
  }

  /** A person wants sound and microphone back now. */
  goOn() {
    this.#look({ asked: true, here: true });
  }

  /** Takes another microphone (or the same anew) without ending the call. Throws a MicrophoneError. */
  async replaceMicrophone(settings) {
    this.settings = settings;
    await this.microphone.open(settings);
    if (!this.closed) this.#joinStream(this.microphone.stream);
  }

  async setOutput(deviceId) {
    this.settings = { ...this.settings, output: deviceId };
    await this.graph?.setOutput(deviceId);
  }

  setMuted(muted) {
    this.muted = muted;
    this.graph?.setMuted(muted);
  }

  /** Queues audio for playing; `tag` comes back with `onPushed`. */
  play(pcm, rate, tag) {
    this.graph?.play(pcm, rate, tag);
  }

  /** Forgets what waits to be played, and the player's counters. */
  resetPlayer() {
    this.#countFromZero();
    this.graph?.resetPlayer();
  }

  /** Seconds from the player's hands to the ear, as far as the browser knows. */
  get outputLatency() {
    return this.graph?.outputLatency ?? 0;
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.stopWatching?.();
    this.microphone.close();
    this.graph?.close();
  }
}

/** What keeps this page from ever hearing anyone, in the words of help.js; null if nothing does. */
export function missingFeature() {
  if (!globalThis.isSecureContext) return "insecure";
  if (!navigator.mediaDevices?.getUserMedia || !("AudioWorkletNode" in globalThis)) return "old-browser";
  return null;
}

function seconds() {
  return performance.now() / 1000;
}
