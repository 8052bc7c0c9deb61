// One call from the click to the end: microphone, connection, codecs, player, and what to do when any of them fails.

import { AudioDevices, MicrophoneError } from "./audio.js";
import { OpusReceiver, OpusSender, PcmReceiver, PcmSender, opusSupported } from "./codec.js";
import { Backoff, Connection, SILENCE, diagnose } from "./connection.js";
import { LagMeter } from "./lag.js";
import { WIRE_RATE, chatUrl } from "./protocol.js";
import { Recording } from "./recording.js";

/** After this many tries in a row, about two minutes, only a person tries again. */
const MOST_TRIES = 12;

/** Close codes of calls that ended as they should: finished, and out of time. */
const ENDED = [1000, 4001];
/** Close codes after which calling again by itself makes sense: the server goes away, or nobody said anything. */
const BROKEN = [1001, 1005, 1006, 1012, SILENCE];
/** Try again later: every line is busy. */
const BUSY = 1013;

const NO_PLAYER_STATS = Object.freeze({
  rms: 0,
  energy: 0,
  playing: false,
  underruns: 0,
  drops: 0,
  buffered: 0,
  played: 0,
  dropped: 0,
  trimmed: 0,
});

/** States: idle, opening (the microphone), connecting, queued (in the server's line), live, waiting (to connect again). */
export class Call {
  /**
   * Events: `onState(state, { retryAt, place })`, `onText(piece, seconds)`, `onBreak()` when the agent starts anew,
   * `onMetadata(value)`, `onHelp(name, detail)`, `onNotice(text)`, `onRecording(recording)` at the end of a recorded call.
   */
  constructor(pageUrl, events) {
    this.pageUrl = pageUrl;
    this.events = events;
    this.state = "idle";
    this.backoff = new Backoff();
    this.lag = new LagMeter();
    this.muted = false;
    /** Whether the server's model takes a role and a voice; else they are not sent. */
    this.takesPrompts = false;
    this.#forget();
    addEventListener("online", () => this.retryNow());
  }

  #forget() {
    this.player = NO_PLAYER_STATS;
    this.microphoneLevel = 0;
    this.sentSeconds = 0;
    this.messages = 0;
    this.startedAt = null;
    this.reconnects = 0;
    this.serverError = null;
    this.format = null;
    this.recording = null;
    this.before = { underruns: 0, drops: 0, dropped: 0, skipped: 0, unsent: 0 };
  }

  /** Opens the microphone and calls the server. */
  async start(settings) {
    if (this.state !== "idle") return;
    this.#forget();
    this.backoff.reset();
    this.settings = settings;
    this.#setState("opening");
    const devices = new AudioDevices({
      onChunk: (samples) => this.#heard(samples),
      onStats: (stats) => {
        if (this.devices === devices) this.player = stats;
      },
      onRecorded: (samples, rate) => this.#record(samples, rate),
      onPushed: ({ tag, waiting }) => this.lag.notePlaced(tag, waiting, devices.outputLatency),
      onMicrophoneLost: () => this.#microphoneLost(),
      onSuspended: (yes) => this.events.onNotice(yes ? "The system has paused this page's sound." : ""),
    });
    this.devices = devices;
    try {
      const [format] = await Promise.all([chooseFormat(settings.format), devices.open(settings)]);
      if (this.devices !== devices) return void devices.close(); // hung up meanwhile
      this.format = format;
      devices.setMuted(this.muted);
      this.#holdScreen();
      this.#connect();
    } catch (error) {
      if (this.devices !== devices) return;
      if (error instanceof MicrophoneError) this.#fail(error.help, error.help === "microphone-failed" ? error.message : "");
      else await this.#failUnexpectedly(error);
    }
  }

  /** The worklets are files of the server's: without it they cannot be loaded. */
  async #failUnexpectedly(error) {
    const { devices } = this;
    const { help } = await diagnose(this.pageUrl, this.#address(), this.settings.key);
    if (this.devices !== devices) return;
    if (help === "unreachable") this.#fail(help, "");
    else this.#fail("unexpected", String(error?.message ?? error));
  }

  #address() {
    const { sampling, role, voice } = this.settings;
    const prompts = this.takesPrompts ? { text_prompt: role, voice_prompt: voice } : {};
    return chatUrl(this.pageUrl, sampling, this.format, prompts);
  }

  #connect() {
    this.#setState("connecting");
    this.serverError = null;
    try {
      this.connection = new Connection(this.#address(), this.settings.key, {
        onReady: () => this.#ready(),
        onMessage: (message) => this.#receive(message),
        onClose: (end) => this.#closed(end),
      });
    } catch {
      this.#fail("key", "The key in the settings has characters that cannot be sent.");
    }
  }

  #ready() {
    const { connection } = this;
    const send = (payload) => connection.sendAudio(payload);
    const play = (audio) => this.#play(audio);
    const opus = this.format === "opus";
    this.sender = opus ? new OpusSender(send, (error) => this.#fail("codec", error.message)) : new PcmSender(send);
    this.receiver = opus ? new OpusReceiver(play) : new PcmReceiver(play);
    const headers = this.sender.headers();
    if (headers) send(headers);
    this.sentSeconds = 0;
    this.lag.reset();
    this.devices.resetPlayer();
    this.backoff.reset();
    this.startedAt ??= seconds();
    this.events.onBreak();
    this.#setState("live");
  }

  #heard(samples) {
    if (this.state === "idle") return; // handed over just before the hang-up
    this.microphoneLevel = rootMeanSquare(samples);
    if (this.state !== "live") return;
    const length = samples.length / WIRE_RATE;
    this.sender.push(samples);
    this.sentSeconds += length;
    this.lag.noteSent(this.sentSeconds, seconds());
  }

  /** The recording begins with the call and goes on through broken connections, so its times are those of the words. */
  #record(samples, rate) {
    if (this.state === "idle" || this.startedAt === null) return;
    this.recording ??= new Recording(rate);
    this.recording.add(samples);
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
    if (!Number.isInteger(place)) return this.events.onMetadata(value);
    if (this.state === "connecting" || this.state === "queued") this.#setState("queued", { place });
  }

  #closed({ opened, ready, code, reason }) {
    this.#keepCounts();
    this.#closeCodecs();
    this.connection = undefined;
    // The server's own message says more than the reason of the close frame.
    const words = this.serverError ?? reason;
    if (code === BUSY) this.#unanswered({ help: "full", detail: reason });
    else if (ready && ENDED.includes(code)) this.#fail("ended", reason);
    else if (ready && BROKEN.includes(code)) this.#reconnectLater(code === 1001 ? "draining" : "lost", "");
    else if (ready || (opened && words)) this.#fail("call-error", words || `code ${code}`);
    else if (opened && code === SILENCE) this.#fail("silent", "");
    else this.#askWhy();
  }

  async #askWhy() {
    const { devices } = this;
    const why = await diagnose(this.pageUrl, this.#address(), this.settings.key);
    if (this.devices === devices && this.state === "connecting") this.#unanswered(why);
  }

  /** A refusal ends a first call, where a person waits and reads; after a lost connection it is worth waiting out. */
  #unanswered({ help, detail }) {
    const passing = ["full", "draining", "unreachable"].includes(help);
    if (this.startedAt !== null && passing) this.#reconnectLater(help, detail);
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
    this.#connect();
  }

  async #microphoneLost() {
    try {
      await this.devices.replaceMicrophone(this.settings);
      this.events.onNotice(`The microphone went away; listening to “${this.devices.microphone}” now.`);
    } catch {
      this.#fail("microphone-lost", "");
    }
  }

  /** Takes over what can change during a call: the devices and their clean-up. */
  async applySettings(settings) {
    const before = this.settings;
    this.settings = settings;
    if (this.state === "idle" || !this.devices?.capture) return;
    const changed = (keys) => keys.some((key) => before[key] !== settings[key]);
    if (changed(["output"])) await this.devices.setOutput(settings.output);
    if (!changed(["input", "echoCancellation", "noiseSuppression", "autoGainControl"])) return;
    try {
      await this.devices.replaceMicrophone(settings);
    } catch (error) {
      this.#fail(error.help ?? "microphone-failed", error.message);
    }
  }

  setMuted(muted) {
    this.muted = muted;
    this.devices?.setMuted(muted);
  }

  /** Ends the call. */
  hangUp() {
    clearTimeout(this.retryTimer);
    this.#keepCounts();
    this.connection?.close();
    this.connection = undefined;
    this.#closeCodecs();
    this.devices?.close();
    this.devices = undefined;
    this.microphoneLevel = 0;
    this.player = { ...this.player, rms: 0, playing: false };
    this.screen?.then((lock) => lock?.release()).catch(() => {});
    this.screen = undefined;
    this.#setState("idle");
    if (this.recording) this.events.onRecording(this.recording);
    this.recording = null;
  }

  #fail(help, detail) {
    this.hangUp();
    this.events.onHelp(help, detail);
  }

  #closeCodecs() {
    this.sender?.close();
    this.receiver?.close();
    this.sender = this.receiver = undefined;
  }

  /** The counters of a connection that ends, so that a reconnected call still tells of them. */
  #keepCounts() {
    if (!this.receiver) return;
    this.before = this.#counts();
    this.player = { ...this.player, underruns: 0, drops: 0, dropped: 0 };
  }

  #counts() {
    const { before, player } = this;
    return {
      underruns: before.underruns + player.underruns,
      drops: before.drops + player.drops,
      dropped: before.dropped + player.dropped,
      skipped: before.skipped + (this.receiver?.skipped ?? 0),
      unsent: before.unsent + (this.connection?.unsent ?? 0),
    };
  }

  /** A phone that goes dark in the middle of a call would end it. */
  #holdScreen() {
    this.screen = navigator.wakeLock?.request("screen").catch(() => null);
  }

  #setState(state, more = {}) {
    this.state = state;
    this.events.onState(state, more);
  }

  get callSeconds() {
    return this.startedAt === null ? 0 : seconds() - this.startedAt;
  }

  /** Everything the page shows about the call, and the tests look at. */
  stats() {
    return {
      state: this.state,
      format: this.format,
      seconds: this.callSeconds,
      lag: this.state === "live" ? this.lag.value : null,
      levels: { you: this.microphoneLevel, agent: this.player.rms },
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

async function chooseFormat(wish) {
  if (wish !== "auto") return wish;
  return (await opusSupported()) ? "opus" : "pcm";
}

function rootMeanSquare(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / samples.length);
}

function seconds() {
  return performance.now() / 1000;
}
