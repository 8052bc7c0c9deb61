// A line below the call: the server's own notice, and in its place, for a while, what has just happened.

const SHOWN_MS = 12000;

export class Notices {
  /** `show(text)` puts it on the page; an empty text hides the line. */
  constructor(show) {
    this.put = show;
    this.standing = "";
  }

  /** What stands there while nothing happens. */
  setStanding(text) {
    this.standing = text;
    if (this.timer === undefined) this.put(text);
  }

  show(text) {
    clearTimeout(this.timer);
    this.put(text);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.put(this.standing);
    }, SHOWN_MS);
  }
}
