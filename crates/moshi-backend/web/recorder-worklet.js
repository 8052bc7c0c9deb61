// Takes both voices in the same instant, left and right, and hands them over as interleaved 16-bit samples.

/** Little is lost when the sound ends between two pieces. */
const PIECE_SECONDS = 0.1;

class RecorderProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.running = true;
    this.#clear();
    this.port.onmessage = ({ data }) => {
      if (data.type === "stop") this.running = false;
    };
  }

  #clear() {
    this.piece = new Int16Array(2 * Math.round(PIECE_SECONDS * sampleRate));
    this.filled = 0;
  }

  process(inputs) {
    const [left, right] = inputs[0];
    for (let i = 0; i < 128; i++) {
      this.piece[this.filled++] = sixteenBits(left?.[i] ?? 0);
      this.piece[this.filled++] = sixteenBits(right?.[i] ?? 0);
      if (this.filled < this.piece.length) continue;
      this.port.postMessage(this.piece, [this.piece.buffer]);
      this.#clear();
    }
    return this.running;
  }
}

function sixteenBits(sample) {
  return Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
}

registerProcessor("moshi-recorder", RecorderProcessor);
