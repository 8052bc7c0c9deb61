// The speaker's end of the audio thread: the jitter buffer, at the context's own rate.
//
// In:  { type: "audio", pcm, rate, tag }, { type: "reset" }, { type: "stop" }
// Out: { type: "pushed", tag, waiting } for every audio message: how long, in seconds, its first sample will wait;
//      { type: "stats", ... } about every 40 ms, with the level of what was really played.

import { JitterBuffer } from "./jitter.js";
import { Resampler } from "./resample.js";

const REPORT_SECONDS = 0.04;

class PlaybackProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new JitterBuffer({ rate: sampleRate });
    this.resampler = null;
    this.running = true;
    this.#clearLevel();
    this.energy = 0;
    this.port.onmessage = ({ data }) => this.#receive(data);
  }

  #receive(data) {
    if (data.type === "stop") this.running = false;
    if (data.type === "reset") {
      this.buffer.reset();
      this.resampler = null;
      this.energy = 0;
    }
    if (data.type === "audio") this.#push(data);
  }

  #push({ pcm, rate, tag }) {
    if (!this.resampler || this.rate !== rate) {
      this.resampler = new Resampler(rate, sampleRate);
      this.rate = rate;
    }
    const buffer = this.buffer;
    buffer.push(this.resampler.process(pcm));
    const added = (pcm.length / rate) * sampleRate;
    const start = buffer.playing ? 0 : Math.max(0, buffer.margin - buffer.waited);
    const waiting = (Math.max(0, buffer.level - added) + start) / sampleRate;
    this.port.postMessage({ type: "pushed", tag, waiting });
  }

  process(_inputs, outputs) {
    const out = outputs[0][0];
    this.buffer.pull(out);
    for (const sample of out) {
      this.sum += sample * sample;
      this.peak = Math.max(this.peak, Math.abs(sample));
    }
    this.count += out.length;
    if (this.count >= REPORT_SECONDS * sampleRate) this.#report();
    return this.running;
  }

  #report() {
    const { level, playing, played, silence, underruns, drops, droppedSamples, trimmedSamples } = this.buffer;
    this.energy += this.sum / sampleRate;
    this.port.postMessage({
      type: "stats",
      rms: Math.sqrt(this.sum / this.count),
      peak: this.peak,
      energy: this.energy,
      playing,
      underruns,
      drops,
      buffered: level / sampleRate,
      played: played / sampleRate,
      silence: silence / sampleRate,
      dropped: droppedSamples / sampleRate,
      trimmed: trimmedSamples / sampleRate,
    });
    this.#clearLevel();
  }

  #clearLevel() {
    this.sum = 0;
    this.peak = 0;
    this.count = 0;
  }
}

registerProcessor("moshi-playback", PlaybackProcessor);
