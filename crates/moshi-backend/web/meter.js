// Both voices over the last seconds: the caller's above a line, the agent's below, the newest at the right.

/** Time of one bar. */
const SLOT_MS = 40;
const BAR = 3;
const GAP = 3;
/** What the words of welcome take of the picture, from below. */
const WELCOME_HEIGHT = 116;
/** Decibels below full scale at which a voice begins to show, and at which it fills its half. */
const FLOOR_DB = -52;
const CEILING_DB = -8;

/** How much of its half a root mean square takes, 0 to 1. */
export function loudness(rms) {
  if (!(rms > 0)) return 0;
  const part = (20 * Math.log10(rms) - FLOOR_DB) / (CEILING_DB - FLOOR_DB);
  // Between loudness as it is measured and as it is drawn: a power that lets syllables stand out.
  return Math.min(1, Math.max(0, part)) ** 1.6;
}

/** A level that rises at once and sinks slowly, as eyes like it. */
export class Smooth {
  constructor() {
    this.value = 0;
  }

  next(target) {
    this.value = target > this.value ? this.value + 0.6 * (target - this.value) : this.value + 0.22 * (target - this.value);
    return this.value;
  }
}

export class Visualiser {
  /**
   * `levels()` gives `{ you, agent }` as root mean squares; `swatches` are two elements whose background shows the
   * voices' colours, and the canvas's own colour is that of the line.
   */
  constructor(canvas, swatches, levels) {
    this.canvas = canvas;
    this.swatches = swatches;
    this.levels = levels;
    this.bars = [];
    this.you = new Smooth();
    this.agent = new Smooth();
    this.active = false;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.calm.addEventListener("change", () => this.#schedule());
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
    this.restyle();
  }

  /** Reads the colours anew after the theme changed. */
  restyle() {
    const { you, agent } = this.swatches;
    this.colours = {
      you: getComputedStyle(you).backgroundColor,
      agent: getComputedStyle(agent).backgroundColor,
      line: getComputedStyle(this.canvas).color,
    };
    this.#schedule();
  }

  setActive(active) {
    if (active !== this.active) this.bars = [];
    this.active = active;
    this.#schedule();
  }

  #resize() {
    const ratio = Math.min(3, devicePixelRatio || 1);
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.width = clientWidth;
    this.height = clientHeight;
    this.ratio = ratio;
    this.#schedule();
  }

  #schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame((now) => {
      this.frame = undefined;
      if (this.active) this.#advance(now);
      this.#draw(now);
      if (this.active) this.#schedule();
    });
  }

  #advance(now) {
    // A page in the background gets no frames: what passed meanwhile was not seen.
    if (!(now - this.slotAt < 1000)) this.slotAt = now;
    while (now - this.slotAt >= SLOT_MS) {
      this.slotAt += SLOT_MS;
      const { you, agent } = this.levels();
      this.bars.push({ you: this.you.next(loudness(you)), agent: this.agent.next(loudness(agent)) });
    }
    const kept = Math.ceil(this.width / (BAR + GAP)) + 2;
    this.bars.splice(0, this.bars.length - kept);
  }

  #draw(now) {
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (!this.active) this.#drawRest(context);
    else if (this.calm.matches) this.#drawStill(context);
    else this.#drawHistory(context, (now - this.slotAt) / SLOT_MS);
  }

  /** Before and after a call: two quiet voices above the words of welcome. */
  #drawRest(context) {
    const middle = Math.max(36, this.height - WELCOME_HEIGHT) / 2;
    const step = BAR + GAP;
    const count = Math.floor(this.width / step);
    for (let i = 0; i < count; i++) {
      const across = (i + 0.5) / count;
      const you = restingLevel(across, 0);
      const agent = restingLevel(across, 2.1);
      context.globalAlpha = 0.75 * Math.sin(Math.PI * across);
      context.fillStyle = this.colours.you;
      pill(context, i * step, middle - 2 - you * middle, 1.5 + you * middle);
      context.fillStyle = this.colours.agent;
      pill(context, i * step, middle + 0.5, 1.5 + agent * middle);
    }
    context.globalAlpha = 1;
  }

  #drawHistory(context, part) {
    const middle = this.height / 2;
    const reach = middle - 6;
    const step = BAR + GAP;
    const count = Math.ceil(this.width / step) + 1;
    for (let i = 0; i < count; i++) {
      const bar = this.bars[this.bars.length - 1 - i];
      const x = this.width - (i + part) * step - BAR;
      // Old bars fade out towards the left, and the line is always there.
      context.globalAlpha = Math.min(1, Math.max(0, (x + BAR) / (0.35 * this.width)));
      if (!bar) {
        context.fillStyle = this.colours.line;
        pill(context, x, middle - 1, 2);
        continue;
      }
      context.fillStyle = this.colours.you;
      pill(context, x, middle - 2 - bar.you * reach, 1.5 + bar.you * reach);
      context.fillStyle = this.colours.agent;
      pill(context, x, middle + 0.5, 1.5 + bar.agent * reach);
    }
    context.globalAlpha = 1;
  }

  /** Without movement: one wide bar for each voice. */
  #drawStill(context) {
    const { you, agent } = this.bars[this.bars.length - 1] ?? { you: 0, agent: 0 };
    const length = (level) => Math.max(12, level * (this.width - 48));
    context.fillStyle = this.colours.you;
    roundBar(context, 24, this.height / 2 - 26, length(you), 12);
    context.fillStyle = this.colours.agent;
    roundBar(context, 24, this.height / 2 + 14, length(agent), 12);
  }
}

/** A still picture of somebody talking: syllables within phrases, 0 to 1. */
function restingLevel(across, shift) {
  const phrase = 0.5 + 0.5 * Math.sin(13 * across + shift);
  const syllable = 0.5 + 0.5 * Math.sin(67 * across + 3 * shift);
  return 0.05 + 0.9 * phrase * (0.3 + 0.7 * syllable);
}

function pill(context, x, y, height) {
  context.beginPath();
  context.roundRect(x, y, BAR, Math.max(BAR / 2, height), BAR / 2);
  context.fill();
}

function roundBar(context, x, y, width, height) {
  context.beginPath();
  context.roundRect(x, y, width, height, height / 2);
  context.fill();
}
