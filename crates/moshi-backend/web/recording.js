// A recording of the call: both voices on one time line, the caller left, the agent right. It stays in this page.

/** After this long a recording ends, so that a forgotten call does not fill the memory: 345 MB at 24 kHz. */
export const LONGEST_SECONDS = 3600;
/** So much at a time is handed to the browser as a Blob, which it may keep on disk. */
const BLOB_SECONDS = 10;
const CHANNELS = 2;
const HEADER_BYTES = 44;

/** Collects interleaved 16-bit samples and makes a WAV file of them. */
export class Recording {
  /** `rate` is that of the samples to come, in Hz. */
  constructor(rate, longest = LONGEST_SECONDS) {
    this.rate = rate;
    this.longest = longest;
    this.bytes = 0;
    this.parts = [];
    this.fresh = [];
    this.freshBytes = 0;
  }

  /** Adds an `Int16Array` of left and right samples in turn; beyond the longest time nothing is taken. */
  add(samples) {
    if (this.full) return;
    this.fresh.push(samples);
    this.freshBytes += samples.byteLength;
    this.bytes += samples.byteLength;
    if (this.freshBytes >= BLOB_SECONDS * this.#bytesPerSecond) this.#pack();
  }

  get #bytesPerSecond() {
    return 2 * CHANNELS * this.rate;
  }

  get seconds() {
    return this.bytes / this.#bytesPerSecond;
  }

  get full() {
    return this.seconds >= this.longest;
  }

  /** The whole as a WAV file: 16 bits, two channels. */
  toWav() {
    this.#pack();
    return new Blob([wavHeader(this.bytes, this.rate), ...this.parts], { type: "audio/wav" });
  }

  #pack() {
    // WAV and every machine that runs a browser are little-endian.
    if (this.fresh.length > 0) this.parts.push(new Blob(this.fresh));
    this.fresh = [];
    this.freshBytes = 0;
  }
}

/** The RIFF header of 16-bit stereo PCM with `bytes` of samples. */
function wavHeader(bytes, rate) {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  const word = (at, text) => header.set(Array.from(text, (letter) => letter.charCodeAt(0)), at);
  word(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of the format that follows
  view.setUint16(20, 1, true); // plain PCM
  view.setUint16(22, CHANNELS, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * CHANNELS * 2, true);
  view.setUint16(32, CHANNELS * 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, bytes, true);
  return header;
}
