// The agent's words: pieces come as they are spoken, paragraphs end where it pauses.

/** A silence this long begins a new paragraph. */
const PAUSE_SECONDS = 1.5;

/** The words and when they began; pure. */
export class Transcript {
  constructor() {
    this.paragraphs = [];
    this.lastAt = -Infinity;
    this.fresh = true;
  }

  /** Adds a piece spoken at `at` seconds of the call. Returns whether it began a paragraph. */
  add(piece, at) {
    const begins = this.fresh || at - this.lastAt > PAUSE_SECONDS;
    this.lastAt = at;
    if (begins && piece.trim() === "") return false;
    if (begins) this.paragraphs.push({ at, text: piece.trimStart() });
    else this.paragraphs[this.paragraphs.length - 1].text += piece;
    this.fresh = false;
    return begins;
  }

  /** The next piece begins a new paragraph, however soon it comes. */
  breakHere() {
    this.fresh = true;
  }

  get empty() {
    return this.paragraphs.length === 0;
  }

  /** The whole as plain text, one paragraph a line. */
  toText() {
    return this.paragraphs.map(({ at, text }) => `[${clock(at)}] ${text.trimEnd()}\n`).join("");
  }
}

/** Seconds as minutes and seconds: 75 is 1:15. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
