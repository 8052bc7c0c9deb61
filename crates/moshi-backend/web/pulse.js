// Whether the sound runs, judged by what comes out of the audio thread and not by what the browser says of it: a context
// may call itself "running" while its clock stands still.
// Pure: times come in as arguments, in seconds.

export const PULSE_DEFAULTS = Object.freeze({
  /** A running audio thread is heard of every 20 to 40 ms; after so much silence the sound counts as paused. */
  quiet: 0.8,
  /** Room for an audio thread that only starts. */
  start: 2,
  /** Judgements further apart than this: the page was frozen, and what came meanwhile is still on its way. */
  frozen: 1.6,
  /** Without a sign of life for so long, a context is replaced: one that claims to run, and one that will not resume. */
  stalled: 2.5,
  refused: 6,
  /** When a person has asked, a context has so long to come back. */
  asked: 1,
  /** Each replacement that did not help doubles the patience, up to this. */
  longest: 40,
});

/** Whether a context in `state` says of itself that the system has paused it. */
export function isPaused(state) {
  return state === "suspended" || state === "interrupted";
}

export class Pulse {
  /** The audio thread was started at `now`. */
  constructor(now, options = {}) {
    this.limits = { ...PULSE_DEFAULTS, ...options };
    this.beats = { microphone: -Infinity, player: -Infinity };
    /** Nothing before this counts as silence. */
    this.countFrom = now + this.limits.start - this.limits.quiet;
    this.judgedAt = now;
    this.changedAt = now;
    this.state = null;
    this.paused = false;
    this.fruitless = 0;
    this.askedAt = Infinity;
  }

  /** Something came from the audio thread's "microphone" or "player". */
  beat(part, now) {
    this.beats[part] = now;
  }

  /** A person wants the sound back. */
  ask(now) {
    if (this.paused) this.askedAt = Math.min(this.askedAt, now);
  }

  /** The context was replaced, or could not be. */
  noteReplaced(now) {
    this.beLenient(now);
    this.fruitless += 1;
  }

  /** The context's patience begins anew. */
  beLenient(now) {
    this.changedAt = now;
    this.askedAt = Infinity;
  }

  /** What to think of a context in `state`: "well", "paused", or "dead" when another one should take its place. */
  judge(state, now) {
    this.#noteTime(state, now);
    const { microphone, player } = this.beats;
    const beatAt = Math.min(microphone, player);
    const heardAt = Math.max(beatAt, this.countFrom);
    const { quiet } = this.limits;
    if (now - beatAt < quiet || (!this.paused && now - heardAt < quiet)) {
      this.paused = false;
      this.fruitless = 0;
      this.askedAt = Infinity;
      return "well";
    }
    this.paused = true;
    const waited = now - Math.max(heardAt, this.changedAt);
    return waited >= this.#patience(state) || now - this.askedAt >= this.limits.asked ? "dead" : "paused";
  }

  #noteTime(state, now) {
    if (now - this.judgedAt > this.limits.frozen) this.countFrom = now;
    this.judgedAt = now;
    if (state === this.state) return;
    this.state = state;
    this.changedAt = now;
  }

  #patience(state) {
    if (state === "closed" && this.fruitless === 0) return 0;
    const first = isPaused(state) ? this.limits.refused : this.limits.stalled;
    return Math.min(this.limits.longest, first * 2 ** this.fruitless);
  }
}
