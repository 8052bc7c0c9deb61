// A streaming sample-rate converter: windowed sinc, one bank of coefficients per output phase.
// Pure. The Opus decoder always gives 48 kHz, the wire wants 24 kHz, and an audio device may run at any rate.

/** Zero crossings of the sinc on each side of its centre; 16 keeps aliases below -70 dB. */
const LOBES = 16;

/** Converts mono audio from one rate to another; state carries over between calls. */
export class Resampler {
  constructor(from, to) {
    if (!(from > 0 && to > 0)) throw new RangeError(`cannot resample from ${from} to ${to} Hz`);
    const divisor = gcd(Math.round(from), Math.round(to));
    this.up = Math.round(to) / divisor;
    this.down = Math.round(from) / divisor;
    this.identity = this.up === this.down;
    if (this.identity) return;
    this.half = Math.ceil(LOBES * Math.max(1, this.down / this.up));
    this.taps = coefficients(this.up, this.down, this.half);
    // The window around the next output sample; starting with `half` zeros centres the first output on the first input.
    this.history = new Float32Array(this.half);
    this.phase = 0;
  }

  /** Converts what `input` completes. */
  process(input) {
    if (this.identity) return input;
    const data = new Float32Array(this.history.length + input.length);
    data.set(this.history);
    data.set(input, this.history.length);
    const width = 2 * this.half;
    const ready = Math.max(0, Math.ceil(((data.length - width + 1) * this.up - this.phase) / this.down));
    const out = new Float32Array(ready);
    let base = 0;
    for (let n = 0; n < ready; n++) {
      const bank = this.phase * width;
      let sum = 0;
      for (let i = 0; i < width; i++) sum += data[base + i] * this.taps[bank + i];
      out[n] = sum;
      this.phase += this.down;
      base += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.history = data.slice(base);
    return out;
  }
}

/** `[up][2 * half]` coefficients, Blackman-windowed; each phase sums to 1 so that no phase is louder than another. */
function coefficients(up, down, half) {
  const width = 2 * half;
  const taps = new Float32Array(up * width);
  const cutoff = 0.95 * Math.min(1, up / down);
  for (let phase = 0; phase < up; phase++) {
    let sum = 0;
    for (let i = 0; i < width; i++) {
      // Tap `half` lies on the current input sample; `phase / up` is how far the output lies past it.
      const x = i - half - phase / up;
      const window = 0.42 + 0.5 * Math.cos((Math.PI * x) / half) + 0.08 * Math.cos((2 * Math.PI * x) / half);
      const value = Math.abs(x) >= half ? 0 : cutoff * sinc(cutoff * x) * window;
      taps[phase * width + i] = value;
      sum += value;
    }
    for (let i = 0; i < width; i++) taps[phase * width + i] /= sum;
  }
  return taps;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}
