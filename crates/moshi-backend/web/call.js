// One call from the click to the end: microphone, connection, codecs, player, and what to do when any of them fails.

import { AudioDevices, SILENT_PLAYER } from "./audio.js";
import { CallTime } from "./call-time.js";
import { chooseFormat, openCodecs } from "./codec.js";
import { Backoff, Connection, diagnose } from "./connection.js";
import { meaningOf } from "./ending.js";
import { eachOf, guard } from "./guard.js";
import { LagMeter } from "./lag.js";
import { MicrophoneError } from "./microphone.js";
import { WIRE_RATE, chatUrl } from "./protocol.js";
import { Recording } from "./recording.js";
import { ScreenLock } from "./screen-lock.js";

/** Audio in one message. */
const MESSAGE_SECONDS = 0.02;

/** A level older than this says nothing. */
const LEVEL_SECONDS = 0.2;

/** After this many tries in a row, about two minutes, only a person tries again. */
const MOST_TRIES = 12;

/** While sound or microphone are away, the server is told so often that the caller lives. */
const KEEP_ALIVE_MS = 2000;
/** A telephone call takes minutes, but a place at a server is not kept for ever. */
const PATIENCE_SECONDS = 600;

/** States: idle, opening (the microphone), connecting, queued (in the server's line), live, waiting (to connect again). */
export class Call {
  /**
   * Events: `onState(state, { retryAt, place })`, `onText(piece, seconds)`, `onBreak()` when the agent starts anew,
   * `onMetadata(value)`, `onHelp(name, detail)`, `onNotice(text)`, `onPause(name)` when sound or microphone are away (in the
   * words of help.js) or back (null), `onRecording(recording)` at the end of a recorded call.
   */
  constructor(pageUrl, events) {
    this.pageUrl = pageUrl;
    /** Whether the served model plays roles: others are not asked to. */
    this.playsRoles = false;
    this.events = events;
    this.state = "idle";
    this.backoff = new Backoff();
    this.lag = new LagMeter();
    this.screen = new ScreenLock();
    this.muted = false;
    /** Which call this is: what comes late from one that has ended does not touch the next. */
    this.number = 0;
    this.#forget();
    addEventListener("online", () => this.retryNow());
  }

  #forget() {
    this.player = SILENT_PLAYER;
    this.microphoneLevel = 0;
    this.sentSeconds = 0;
    this.messages = 0;
    this.time = new CallTime();
    this.heardAt = seconds();
    this.late = 0;
    this.pause = null;
    this.reconnects = 0;
    this.serverError = null;
    this.format = null;
    this.recording = null;
    this.noticed = new Set();
    this.before = { underruns: 0, drops: 0, dropped: 0, skipped: 0, unsent: 0 };
  }

  /** Opens the microphone and calls the server. */
  async start(settings) {
    if (this.state !== "idle") return;
    this.number += 1;
    this.#forget();
    this.backoff.reset();
    this.settings = settings;
    try {
      this.#setState("opening");
      await this.#open();
    } catch (error) {
      this.#break(error);
    }
  }

  async #open() {
    const { settings } = this;
    const devices = new AudioDevices(
      this.#guarded({
        onChunk: (samples, late) => this.#heard(samples, late),
        onStats: (stats) => (this.player = stats),
        onRecorded: (samples, rate) => this.#record(samples, rate),
        onPushed: ({ tag, waiting }) => this.lag.notePlaced(tag, waiting, devices.outputLatency),
        onPause: (name) => this.#paused(name),
        onNotice: (text) => this.events.onNotice(text),
        onError: (error) => this.#break(error),
      }),
    );
    this.devices = devices;
    devices.setMuted(this.muted);
    this.keepAlive = setInterval(this.#guard(() => this.#keepAlive()), KEEP_ALIVE_MS);
    this.screen.hold();
    const [format] = await Promise.all([chooseFormat(settings.format), devices.open(settings)]);
    if (this.devices !== devices) return devices.close(); // hung up meanwhile
    if (format === null) return this.#fail("no-opus", "");
    this.format = format;
    this.#connect();
  }

  /** The same, but an error in it ends the call, with words: a call that is half open would keep its place. */
  #guard(handle) {
    const { number } = this;
    return guard(handle, (error) => number === this.number && this.#break(error));
  }

  #guarded(handlers) {
    return Object.fromEntries(Object.entries(handlers).map(([name, handle]) => [name, this.#guard(handle)]));
  }

  /** Ends the call because of an error of the page's or the browser's. */
  async #break(error) {
    const { devices, state } = this;
    if (state === "idle") return;
    console.error(error);
    if (error instanceof MicrophoneError) return this.#fail(error.help, error.help === "microphone-failed" ? error.message : "");
    if (state === "opening") {
      // The worklets are files of the server's: without it they cannot be loaded.
      const { help } = await diagnose(this.pageUrl, this.#address(), this.settings.key);
      if (this.devices !== devices) return;
      if (help === "unreachable") return this.#fail(help, "");
    }
    this.#fail("unexpected", String(error?.message ?? error));
  }

  #address() {
    const part = this.playsRoles ? this.settings : {};
    return chatUrl(this.pageUrl, this.settings.sampling, this.format, part);
  }

  #connect() {
    this.#setState("connecting");
    this.serverError = null;
    try {
      const handlers = {
        onReady: () => this.#ready(),
        onMessage: (message) => this.#receive(message),
        onClose: (end) => this.#closed(end),
        onError: (error) => this.#break(error),
      };
      this.connection = new Connection(this.#address(), this.settings.key, this.#guarded(handlers));
    } catch (error) {
      if (error.name !== "SyntaxError") throw error;
      this.#fail("key", "The key in the settings has characters that cannot be sent.");
    }
  }

  #ready() {
    if (!this.#openCodecs()) return;
    this.sentSeconds = 0;
    this.lag.reset();
    this.devices.resetPlayer();
    this.backoff.reset();
    this.time.begin(seconds());
    if (this.pause === "sound-paused") this.#standStill();
    this.events.onBreak();
    this.#setState("live");
  }

  #openCodecs() {
    const { connection } = this;
    const send = (payload) => connection.sendAudio(payload);
    const play = (audio) => this.#play(audio);
    const failed = this.#guard((error) => this.connection === connection && this.#fail("codec", error.message));
    try {
      Object.assign(this, openCodecs(this.format, { send, play, failed }));
    } catch (error) {
      failed(error);
      return false;
    }
    const headers = this.sender.headers();
    if (headers) send(headers);
    return true;
  }

  #heard(samples, late) {
    if (this.state === "idle") return; // handed over just before the hang-up
    this.heardAt = seconds();
    this.microphoneLevel = rootMeanSquare(samples);
    if (this.state !== "live") return;
    const length = samples.length / WIRE_RATE;
    if (late) {
      this.late += length;
      return;
    }
    this.sender.push(samples);
    this.sentSeconds += length;
    this.lag.noteSent(this.sentSeconds, seconds());
  }

  /** Sound or microphone are away, or back again. */
  #paused(name) {
    if (this.state === "idle") return;
    if (this.pause === null) this.pausedAt = seconds();
    this.pause = name;
    if (name === "sound-paused") this.#standStill();
    else {
      this.time.goOn(seconds());
      this.connection?.expectAnswers(true);
    }
    this.events.onPause(name);
  }

  /** Nothing is said and nothing is answered. */
  #standStill() {
    this.time.stop(this.heardAt);
    this.connection?.expectAnswers(false);
  }

  /** The server ends calls of which it hears nothing; while there is hope, it hears of this one. */
  #keepAlive() {
    if (this.pause === null) return;
    if (seconds() - this.pausedAt > PATIENCE_SECONDS) this.#fail("gave-up", "");
    else if (this.state === "live") this.connection.ping();
  }

  /** A person wants sound and microphone back now. */
  goOn() {
    this.devices?.goOn();
  }

  /** The recording begins with the call and goes on through broken connections, so its times are those of the words. */
  #record(samples, rate) {
    if (this.state === "idle" || !this.time.begun || this.recording === undefined) return;
    try {
      this.recording ??= new Recording(rate);
      // A context that took the place of another may have the rate of another device: the recording ends there.
      if (rate === this.recording.rate) this.recording.add(samples);
    } catch (error) {
      this.recording = undefined;
      this.events.onNotice(`The recording of this call could not be kept (${error.message}). The call goes on.`);
    }
  }

  #play({ pcm, rate, position }) {
    if (this.state !== "live") return;
    const tag = this.lag.noteArrival(position, seconds());
    this.devices.play(pcm, rate, tag);
  }

  #receive(message) {
    this.messages += 1;
    if (message.kind === "audio") this.receiver?.push(message.payload);
    if (message.kind === "text") this.events.onText(message.text, this.callSeconds);
    if (message.kind === "control" && message.action !== "pause") this.events.onBreak();
    if (message.kind === "metadata") this.#told(message.value);
    if (message.kind === "error") this.serverError = message.text;
  }

  /** Metadata says where a caller stands in line, and later what the call runs with. */
  #told(value) {
    const place = value.waiting?.position;
    if (!Number.isInteger(place)) {
      this.events.onMetadata(value);
      return this.#noteNotices(value.notices);
    }
    if (this.state === "connecting" || this.state === "queued") this.#setState("queued", { place });
  }

  /** What the server wants the person to know, for instance that it could not hear everything; each once a call. */
  #noteNotices(notices) {
    const texts = Array.isArray(notices) ? notices.map((notice) => notice?.text) : [];
    const fresh = texts.filter((text) => typeof text === "string" && text !== "" && !this.noticed.has(text));
    for (const text of fresh) this.noticed.add(text);
    if (fresh.length > 0) this.events.onNotice(fresh.join(" "));
  }

  #closed(end) {
    this.#keepCounts();
    this.#closeCodecs();
    this.connection = undefined;
    const { what, help, detail } = meaningOf(end, this.serverError);
    if (what === "over") this.#fail(help, detail);
    else if (what === "refused") this.#unanswered({ help, detail });
    else if (what === "broken") this.#reconnectLater(help, detail);
    else return this.#askWhy();
  }

  async #askWhy() {
    const { devices } = this;
    const why = await diagnose(this.pageUrl, this.#address(), this.settings.key);
    if (this.devices === devices && this.connection === undefined) this.#unanswered(why);
  }

  /** A refusal ends a first call, where a person waits and reads; after a lost connection it is worth waiting out. */
  #unanswered({ help, detail }) {
    const passing = ["full", "draining", "unreachable"].includes(help);
    if (this.time.begun && passing) this.#reconnectLater(help, detail);
    else this.#fail(help, detail);
  }

  #reconnectLater(help, detail) {
    if (this.backoff.tries >= MOST_TRIES) return this.#fail(help, detail);
    const wait = this.backoff.next();
    this.retryTimer = setTimeout(() => this.retryNow(), 1000 * wait);
    this.#setState("waiting", { retryAt: seconds() + wait, help, detail });
  }

  /** Ends the wait for the next try. */
  retryNow() {
    if (this.state !== "waiting") return;
    clearTimeout(this.retryTimer);
    this.reconnects += 1;
    this.#guard(() => this.#connect())();
  }

  /** Takes over what can change during a call: the devices and their clean-up. */
  async applySettings(settings) {
    const before = this.settings;
    this.settings = settings;
    if (this.state === "idle" || this.state === "opening") return;
    const { devices } = this;
    const changed = (keys) => keys.some((key) => before[key] !== settings[key]);
    try {
      if (changed(["output"])) await devices.setOutput(settings.output);
      if (changed(["input", "echoCancellation", "noiseSuppression", "autoGainControl"])) await devices.replaceMicrophone(settings);
    } catch (error) {
      if (this.devices !== devices) return;
      if (error instanceof MicrophoneError) this.events.onNotice(`The chosen microphone could not be started: ${error.message}.`);
      else this.#break(error);
    }
  }

  setMuted(muted) {
    this.muted = muted;
    this.devices?.setMuted(muted);
  }

  /** Ends the call. */
  hangUp() {
    clearTimeout(this.retryTimer);
    clearInterval(this.keepAlive);
    const { connection, devices, recording } = this;
    this.#keepCounts();
    this.connection = this.devices = undefined;
    this.recording = null;
    this.pause = null;
    this.microphoneLevel = 0;
    this.player = { ...this.player, rms: 0, playing: false };
    this.time.stop(seconds());
    eachOf(
      () => connection?.close(), // first of all: somebody else may want the place
      () => this.#closeCodecs(),
      () => devices?.close(),
      () => this.screen.release(),
      () => this.#setState("idle"),
      () => this.events.onPause(null),
      () => recording && this.events.onRecording(recording),
    );
  }

  #fail(help, detail) {
    this.hangUp();
    this.events.onHelp(help, detail);
  }

  #closeCodecs() {
    const { sender, receiver } = this;
    this.sender = this.receiver = undefined;
    eachOf(
      () => sender?.close(),
      () => receiver?.close(),
    );
  }

  /** The counters of a connection that ends, so that a reconnected call still tells of them. */
  #keepCounts() {
    if (!this.receiver) return;
    this.before = this.#counts();
    this.player = { ...this.player, underruns: 0, drops: 0, dropped: 0 };
    this.late = 0;
  }

  /** What is heard and played at this moment: nothing, once the audio thread is silent. */
  #levels() {
    if (seconds() - this.heardAt > LEVEL_SECONDS) return { you: 0, agent: 0 };
    return { you: this.microphoneLevel, agent: this.player.rms };
  }

  #counts() {
    const { before, player } = this;
    return {
      underruns: before.underruns + player.underruns,
      drops: before.drops + player.drops,
      dropped: before.dropped + player.dropped,
      skipped: before.skipped + (this.receiver?.skipped ?? 0),
      unsent: before.unsent + this.late + (this.connection?.unsent ?? 0) * MESSAGE_SECONDS,
    };
  }

  #setState(state, more = {}) {
    this.state = state;
    this.events.onState(state, more);
  }

  get callSeconds() {
    return this.time.at(seconds());
  }

  /** Everything the page shows about the call, and the tests look at. */
  stats() {
    return {
      state: this.state,
      pause: this.pause,
      format: this.format,
      seconds: this.callSeconds,
      lag: this.state === "live" ? this.lag.value : null,
      levels: this.#levels(),
      sent: this.sentSeconds,
      played: this.player.played,
      playedEnergy: this.player.energy,
      buffered: this.player.buffered,
      trimmed: this.player.trimmed,
      damaged: this.receiver?.damaged ?? 0,
      messages: this.messages,
      bytesSent: this.connection?.bytesSent ?? 0,
      bytesReceived: this.connection?.bytesReceived ?? 0,
      reconnects: this.reconnects,
      recorded: this.recording?.seconds ?? 0,
      ...this.#counts(),
    };
  }
}

function rootMeanSquare(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / samples.length);
}

function seconds() {
  return performance.now() / 1000;
}
