// The player's jitter buffer: audio arrives in bursts of a frame, leaves in even quanta, and must never grow old.
// Pure: no clock but the samples it hands out.
//
// Playing starts `margin` after the first burst, so that `margin` is what remains when the next burst comes on time.
// When a burst comes later than that, silence is played (an underrun), the margin grows for a while, and the wait starts
// again. When more than
// `limit` has gathered, the oldest samples go until `target` remains (a drop): late audio is worth less than prompt
// audio. A smaller excess is taken out of the next quiet moment, where nobody hears it (a trim).

/** Settings in seconds, and the sample rate they refer to. */
export const JITTER_DEFAULTS = Object.freeze({
  rate: 24000,
  frame: 0.08,
  margin: 0.025,
  /** How much an underrun adds to the margin, and the most it may become. */
  growth: 0.015,
  widest: 0.085,
  limit: 0.26,
  /** How long the buffer watches its lowest level before it calls the rest an excess. */
  watch: 2,
  /** Length of the fades that keep cuts from clicking. */
  fade: 0.004,
  /** Loudest sample that counts as a quiet moment. */
  quiet: 0.02,
});

export class JitterBuffer {
  constructor(options = {}) {
    const settings = { ...JITTER_DEFAULTS, ...options };
    const samples = (seconds) => Math.round(seconds * settings.rate);
    this.rate = settings.rate;
    this.quiet = settings.quiet;
    this.frame = samples(settings.frame);
    this.narrowest = samples(settings.margin);
    this.growth = samples(settings.growth);
    this.widest = samples(settings.widest);
    this.limit = Math.max(samples(settings.limit), this.frame + this.widest + 1);
    this.watch = samples(settings.watch);
    this.fade = Math.max(1, samples(settings.fade));
    this.#clear();
  }

  #clear() {
    this.margin = this.narrowest;
    this.chunks = [];
    this.head = 0;
    this.level = 0;
    this.playing = false;
    this.waited = 0;
    this.last = 0;
    this.fadeIn = 0;
    this.tail = 0;
    this.tailFrom = 0;
    this.watched = 0;
    this.lowest = Infinity;
    this.excess = 0;
    // Counters: samples, except the two that count events.
    this.received = 0;
    this.played = 0;
    this.silence = 0;
    this.droppedSamples = 0;
    this.trimmedSamples = 0;
    this.drops = 0;
    this.underruns = 0;
  }

  /** Forgets the audio and the counters. */
  reset() {
    this.#clear();
  }

  /** Samples of the stream that are behind us: played, dropped or trimmed. */
  get position() {
    return this.played + this.droppedSamples + this.trimmedSamples;
  }

  /** How much remains after a drop: a frame and the margin. */
  get target() {
    return this.frame + this.margin;
  }

  /** Takes samples. Returns how many of the oldest had to go. */
  push(samples) {
    if (samples.length === 0) return 0;
    this.chunks.push(samples);
    this.level += samples.length;
    this.received += samples.length;
    if (this.level <= this.limit) return 0;
    const surplus = this.level - this.target;
    this.#discard(surplus);
    this.droppedSamples += surplus;
    this.drops += 1;
    this.#splice();
    return surplus;
  }

  /** Fills `out` with what is due; silence where nothing is. Returns how many samples are audio. */
  pull(out) {
    const due = this.playing || this.#mayStart(out.length);
    const count = due ? this.#take(out) : 0;
    out.fill(0, count);
    if (this.fadeIn > 0) this.#applyFadeIn(out, count);
    this.#addTail(out, 0);
    if (due && count < out.length) this.#runDry(out, count);
    this.last = out[out.length - 1];
    this.played += count;
    this.silence += out.length - count;
    return count;
  }

  #take(out) {
    this.#trim(out.length);
    const count = Math.min(out.length, this.level);
    this.#copy(out, count);
    if (count === out.length) this.#observe(out.length);
    return count;
  }

  #runDry(out, count) {
    this.underruns += 1;
    this.playing = false;
    this.margin = Math.min(this.widest, this.margin + this.growth);
    this.#forgetLowest();
    this.#startTail(count > 0 ? out[count - 1] : this.last);
    this.#addTail(out, count);
  }

  #mayStart(quantum) {
    if (this.level === 0) return false;
    if (this.waited < this.margin && this.level < this.target) {
      this.waited += quantum;
      return false;
    }
    this.playing = true;
    this.waited = 0;
    this.fadeIn = this.fade;
    return true;
  }

  /** Once per `watch`, what even the lowest level did not need becomes an excess. */
  #observe(quantum) {
    this.lowest = Math.min(this.lowest, this.level);
    this.watched += quantum;
    if (this.watched < this.watch) return;
    const spare = this.lowest - this.margin;
    this.#forgetLowest();
    this.excess = spare > this.narrowest ? spare : 0;
    // Every quiet `watch` takes a little of what underruns have added.
    this.margin = Math.max(this.narrowest, this.margin - Math.round(this.growth / 8));
  }

  #forgetLowest() {
    this.watched = 0;
    this.lowest = Infinity;
    this.excess = 0;
  }

  /** Takes one quantum of an excess away if it and the next are quiet. */
  #trim(quantum) {
    if (this.excess < quantum || this.level < 3 * quantum) return;
    for (let i = 0; i < 2 * quantum; i++) if (Math.abs(this.#peek(i)) > this.quiet) return;
    this.#discard(quantum);
    this.#splice();
    this.excess -= quantum;
    this.trimmedSamples += quantum;
  }

  #peek(offset) {
    let at = this.head + offset;
    for (const chunk of this.chunks) {
      if (at < chunk.length) return chunk[at];
      at -= chunk.length;
    }
    return 0;
  }

  #copy(out, count) {
    let done = 0;
    while (done < count) {
      const chunk = this.chunks[0];
      const take = Math.min(count - done, chunk.length - this.head);
      out.set(chunk.subarray(this.head, this.head + take), done);
      done += take;
      this.#advance(take);
    }
  }

  #discard(count) {
    let left = count;
    while (left > 0) {
      const take = Math.min(left, this.chunks[0].length - this.head);
      left -= take;
      this.#advance(take);
    }
  }

  #advance(count) {
    this.head += count;
    this.level -= count;
    if (this.head === this.chunks[0].length) {
      this.chunks.shift();
      this.head = 0;
    }
  }

  /** What comes next does not follow from what was last heard: blend the one into the other. */
  #splice() {
    if (!this.playing) return;
    this.fadeIn = this.fade;
    this.#startTail(this.last);
  }

  /** Lets the level that was last heard sink to nothing instead of vanishing. */
  #startTail(from) {
    this.tail = this.fade;
    this.tailFrom = from;
  }

  #applyFadeIn(out, count) {
    const length = Math.min(this.fadeIn, count);
    for (let i = 0; i < length; i++) out[i] *= 1 - (this.fadeIn - i) / this.fade;
    this.fadeIn -= length;
  }

  #addTail(out, at) {
    const length = Math.min(this.tail, out.length - at);
    for (let i = 0; i < length; i++) out[at + i] += (this.tailFrom * (this.tail - i - 1)) / this.fade;
    this.tail -= length;
  }
}
