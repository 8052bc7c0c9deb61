// The microphone's end of the audio thread: whatever rate the context has, packets' worth of 24 kHz samples come out.
//
// In:  { type: "mute", muted }, { type: "stop" }
// Out: { samples, time } 480 samples, and the context's time when they were complete

import { Resampler } from "./resample.js";

/** 20 ms: small enough that the server's frame never waits long for its last samples. */
const CHUNK = 480;
const WIRE_RATE = 24000;

class CaptureProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, WIRE_RATE);
    this.chunk = new Float32Array(CHUNK);
    this.filled = 0;
    this.muted = false;
    this.running = true;
    this.port.onmessage = ({ data }) => {
      if (data.type === "mute") this.muted = data.muted;
      if (data.type === "stop") this.running = false;
    };
  }

  /** The first output stays silent and keeps the worklet running; the second is what is heard, for the recording. */
  process(inputs, outputs) {
    // No input yet, a device that vanished, or muted: time goes on for the model, so silence takes its place.
    const heard = (!this.muted && inputs[0][0]) || new Float32Array(128);
    outputs[1][0]?.set(heard);
    this.#append(this.resampler.process(heard));
    return this.running;
  }

  #append(samples) {
    let at = 0;
    while (at < samples.length) {
      const take = Math.min(samples.length - at, CHUNK - this.filled);
      this.chunk.set(samples.subarray(at, at + take), this.filled);
      at += take;
      this.filled += take;
      if (this.filled < CHUNK) continue;
      this.port.postMessage({ samples: this.chunk, time: currentTime }, [this.chunk.buffer]);
      this.chunk = new Float32Array(CHUNK);
      this.filled = 0;
    }
  }
}

registerProcessor("moshi-capture", CaptureProcessor);
