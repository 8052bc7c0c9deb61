// The microphone: opened, and opened again when the system has taken it away.

/** Why there is no microphone, in the words of help.js. */
export class MicrophoneError extends Error {
  constructor(help, cause) {
    super(cause?.message ?? help, { cause });
    this.help = help;
  }
}

/** What getUserMedia's errors mean to a person. */
function helpFor(error) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "no-permission";
    case "NotFoundError":
      return "no-microphone";
    case "NotReadableError":
    case "AbortError":
      return "microphone-busy";
    default:
      return "microphone-failed";
  }
}

/** The same during a call, which goes on without it. */
const DURING_A_CALL = { "no-permission": "microphone-denied", "microphone-busy": "microphone-taken" };

/** Seconds until the tries to open another one: one that is gone at once, a muted one when it has been so for a while. */
const TRIES_IF_GONE = [0, 1, 1, 2, 3, 5];
const TRIES_IF_MUTED = [5, 10, 20, 40];
/** Tracks are muted for a moment while devices change. */
const MUTED_SECONDS = 1.2;
/** A first try to open another one that takes longer than this waits for somebody. */
const GONE_SECONDS = 2;

export class Microphone {
  /**
   * Events: `onChange()` when the system mutes, unmutes or ends it; `onStream(stream)` when another stream has taken the
   * place of the last one by itself.
   */
  constructor(events) {
    this.events = events;
    this.goneSince = this.mutedSince = null;
    this.#forgetTries();
  }

  #forgetTries() {
    this.tries = 0;
    this.nextTry = null;
    this.reason = null;
  }

  /** Opens the microphone of the settings, in place of the one before. Throws a MicrophoneError. */
  async open(settings) {
    this.settings = settings;
    this.#take(await openMicrophone(settings));
  }

  #take(stream) {
    if (this.closed) return stopTracks(stream);
    const before = this.stream;
    this.stream = stream;
    this.ended = this.told = false;
    for (const track of stream.getAudioTracks()) {
      track.onended = () => this.#note(() => (this.ended = true));
      track.onmute = () => this.#note(() => (this.told = true));
      track.onunmute = () => this.#note(() => (this.told = false));
    }
    if (before) stopTracks(before);
  }

  #note(change) {
    change();
    this.events.onChange();
  }

  get track() {
    return this.stream?.getAudioTracks()[0];
  }

  /** Its name, as the system knows it. */
  get label() {
    return this.track?.label ?? "";
  }

  get #isGone() {
    return this.ended || this.track?.readyState === "ended";
  }

  get #isMuted() {
    return this.told || this.track?.muted === true;
  }

  /** What keeps it from hearing anything, in the words of help.js; null while it hears. `now` in seconds. */
  trouble(now) {
    if (this.goneSince !== null) return this.reason ?? (now - this.goneSince >= GONE_SECONDS ? "microphone-away" : null);
    return this.mutedSince !== null && now - this.mutedSince >= MUTED_SECONDS ? "microphone-muted" : null;
  }

  /**
   * Looks whether it still hears, and tries to get it back if not. `asked`: a person wants that now; `here`: a person is
   * at the page; `devices`: devices came or went.
   */
  look(now, { asked = false, here = false, devices = false }) {
    if (!this.stream || this.opening) return;
    const gone = this.#isGone;
    const muted = !gone && this.#isMuted;
    this.goneSince = gone ? (this.goneSince ?? now) : null;
    this.mutedSince = muted ? (this.mutedSince ?? now) : null;
    if (gone) {
      const mayPrompt = this.tries === 0 || ((here || devices) && this.reason !== "microphone-denied");
      this.#tryAgain(now, TRIES_IF_GONE, { atOnce: asked || devices, mayPrompt: asked || mayPrompt });
    } else if (muted) {
      // In a hidden page the system may mute it because the page is hidden.
      const seen = document.visibilityState === "visible";
      if (asked || seen) this.#tryAgain(now, TRIES_IF_MUTED, { atOnce: asked, mayPrompt: asked });
    } else {
      this.#forgetTries();
      if (devices) this.#followChoice();
    }
  }

  #tryAgain(now, waits, { atOnce, mayPrompt }) {
    const wait = () => waits[Math.min(this.tries, waits.length - 1)];
    this.nextTry ??= now + wait();
    if (!atOnce && now < this.nextTry) return;
    this.tries += 1;
    this.nextTry = now + wait();
    this.#openAgain(mayPrompt);
  }

  /** The chosen microphone has come back while another one stood in for it. */
  async #followChoice() {
    const { input } = this.settings;
    if (!input || this.track.getSettings().deviceId === input) return;
    const { inputs } = await listDevices();
    if (inputs.some(({ deviceId }) => deviceId === input)) await this.#openAgain(true);
  }

  async #openAgain(mayPrompt) {
    if (this.opening || this.closed) return;
    this.opening = true;
    try {
      // Nobody wants to be asked for a permission out of the blue.
      if (!mayPrompt && !(await isAllowed())) return;
      this.#take(await openMicrophone(this.settings));
      if (!this.closed) this.events.onStream(this.stream);
    } catch (error) {
      this.reason = DURING_A_CALL[error.help] ?? "microphone-away";
    } finally {
      this.opening = false;
    }
    if (!this.closed) this.events.onChange();
  }

  close() {
    this.closed = true;
    if (this.stream) stopTracks(this.stream);
  }
}

/** Whether the browser gives the microphone without asking the person. */
async function isAllowed() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // This browser does not say.
  }
}

/** The chosen microphone, or the default one if the chosen one is gone. */
async function openMicrophone(settings) {
  const { input, echoCancellation, noiseSuppression, autoGainControl } = settings;
  const wishes = { echoCancellation, noiseSuppression, autoGainControl, channelCount: 1 };
  try {
    try {
      return await getMicrophone(input ? { ...wishes, deviceId: { exact: input } } : wishes);
    } catch (error) {
      if (!input || error.name === "NotAllowedError") throw error;
      return await getMicrophone(wishes);
    }
  } catch (error) {
    throw new MicrophoneError(helpFor(error), error);
  }
}

function getMicrophone(audio) {
  return navigator.mediaDevices.getUserMedia({ audio });
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) {
    track.onended = track.onmute = track.onunmute = null;
    track.stop();
  }
}

/** Microphones and loudspeakers by name; names are empty until the microphone was allowed once. */
export async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const named = (kind) => devices.filter((device) => device.kind === kind && device.deviceId && device.label);
  return { inputs: named("audioinput"), outputs: "setSinkId" in AudioContext.prototype ? named("audiooutput") : [] };
}
