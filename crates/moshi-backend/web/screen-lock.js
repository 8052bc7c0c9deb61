// Keeps the screen awake: a phone that goes dark in the middle of a call would end it.

export class ScreenLock {
  constructor() {
    this.wanted = false;
    // Browsers let go of it whenever the page is hidden.
    document.addEventListener("visibilitychange", () => this.wanted && this.hold());
  }

  async hold() {
    this.wanted = true;
    if (document.visibilityState !== "visible" || !navigator.wakeLock) return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      this.lock?.release().catch(() => {});
      this.lock = lock;
      if (!this.wanted) this.release();
    } catch {
      // Not now; the call goes on without it.
    }
  }

  release() {
    this.wanted = false;
    this.lock?.release().catch(() => {});
    this.lock = undefined;
  }
}
