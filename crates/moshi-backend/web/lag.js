// How far the answer lies behind the voice it answers, measured and not guessed.
// Pure: times come in as arguments, in seconds.
//
// The server gives back as much audio as it takes, so the two streams have one time line: the lag of a sample of the
// answer is the time from the capture of the caller's sample at the same place to its playing. It has three parts:
// from the microphone to the arrival (the frame itself, network both ways, the model), the wait in the player's buffer,
// and the way from the player to the ear as the browser states it.

/** Messages over which the medians go: two seconds. */
const KEPT = 25;
/** Pieces closer together than this are of one message; the first one tells its lag. */
const SAME_MESSAGE_SECONDS = 0.008;

export class LagMeter {
  constructor() {
    this.reset();
  }

  reset() {
    this.sent = 0;
    this.sentAt = 0;
    this.arrivedAt = -Infinity;
    this.pending = new Map();
    this.nextTag = 0;
    this.samples = [];
  }

  /** The caller's voice up to `seconds` of the call has been handed on at `now`. */
  noteSent(seconds, now) {
    this.sent = seconds;
    this.sentAt = now;
  }

  /** A piece of the answer whose first sample lies at `position` came at `now`. Returns the tag under which to place it. */
  noteArrival(position, now) {
    const first = now - this.arrivedAt > SAME_MESSAGE_SECONDS;
    this.arrivedAt = now;
    // The microphone goes on between the chunks that it hands over.
    const captured = this.sent + Math.min(0.1, Math.max(0, now - this.sentAt));
    if (first) this.pending.set(this.nextTag, captured - position);
    return this.nextTag++;
  }

  /** The piece under `tag` will play after `waiting` more seconds and reach the ear `output` seconds later. */
  notePlaced(tag, waiting, output) {
    const way = this.pending.get(tag);
    this.pending.delete(tag);
    if (way === undefined) return;
    this.samples.push({ way: Math.max(0, way), waiting, output });
    if (this.samples.length > KEPT) this.samples.shift();
  }

  /** Medians over the last messages and their sum, or null before the first piece. */
  get value() {
    if (this.samples.length === 0) return null;
    const parts = ["way", "waiting", "output"].map((part) => median(this.samples.map((sample) => sample[part])));
    const [way, waiting, output] = parts;
    return { way, waiting, output, total: way + waiting + output };
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
