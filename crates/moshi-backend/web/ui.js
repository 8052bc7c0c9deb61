// What the page shows. Knows the document and nothing of audio or sockets.

import { HELP } from "./help.js";
import { loudness } from "./meter.js";
import { download } from "./recording-view.js";
import { Transcript, clock } from "./transcript.js";

const byId = (id) => document.getElementById(id);

const STATUS = {
  idle: "",
  opening: "Waiting for the microphone…",
  connecting: "Calling the server…",
  queued: "You are in line",
  live: "Connected. Go ahead.",
  waiting: "Not connected. Trying again",
};

const MUTED = "Muted: Moshi hears silence.";
const PAUSED = "Paused.";
const DEAF = "Moshi hears silence.";

/** What the page does by itself while a help is shown: nothing, calling again, or going on when it can. */
const ENDED = "ended";
const WAITING = "waiting";
const PAUSE = "pause";

export class Ui {
  constructor() {
    this.talk = byId("talk");
    this.mute = byId("mute");
    this.canvas = byId("voices");
    this.swatches = { you: document.querySelector(".you .dot"), agent: document.querySelector(".agent .dot") };
    this.levels = { you: byId("you-level"), agent: byId("agent-level") };
    this.figures = byId("figures");
    this.retryAt = null;
    this.muted = false;
    this.pause = null;
  }

  /** Shows the state of the call; `retryAt` (in performance.now seconds) while it waits to connect again. */
  showState(state, { retryAt = null, place = null, help, detail } = {}) {
    const busy = state !== "idle";
    document.body.dataset.state = state;
    this.talk.classList.toggle("hang-up", busy);
    byId("talk-label").textContent = busy ? "Hang up" : "Start talking";
    this.mute.disabled = !busy;
    byId("welcome").hidden = busy;
    byId("clock").hidden = state !== "live" && state !== "waiting";
    if (busy) this.figures.hidden = false;
    this.retryAt = retryAt;
    if (state === "waiting") this.showHelp(help, detail, WAITING);
    // While it connects anew, the help and whatever button the person is about to press stay where they are.
    else if (state !== "connecting" && state !== "idle") this.#showPause();
    byId("line").hidden = state !== "queued";
    byId("place").textContent = place ?? "";
    this.place = place;
    this.#showStatus();
    byId("countdown").textContent = "";
  }

  #showStatus() {
    const { state } = document.body.dataset;
    byId("status").textContent = this.place === null ? this.#statusOf(state) : placeInLine(this.place);
  }

  #statusOf(state) {
    if ((state === "live" || state === "opening") && this.pause !== null) return this.pause === "sound-paused" ? PAUSED : DEAF;
    return state === "live" && this.muted ? MUTED : STATUS[state];
  }

  /** Sound or microphone are away, for what `name` says, or back again (null). */
  setPause(name) {
    const before = this.pause;
    this.pause = name;
    if (name !== null && document.body.dataset.state !== "waiting") this.#showPause();
    // Who has just pressed "Go on" shall not find the focus on "Hang up".
    if (name === null && byId("help").dataset.name === before) this.hideHelp(byId("words"));
    this.#showStatus();
  }

  /** What keeps a call from going on, if anything does. */
  #showPause() {
    if (this.pause !== null) this.showHelp(this.pause, "", PAUSE);
    else this.hideHelp();
  }

  /** Shows what is wrong and what to do; `how` tells what the page does by itself. */
  showHelp(name, detail = "", how = ENDED) {
    const { title, text, steps, retry } = HELP[name] ?? HELP.unexpected;
    byId("help-title").textContent = title;
    byId("help-text").textContent = text;
    setOptional("help-detail", detail);
    byId("help-steps").replaceChildren(...steps.map((step) => element("li", step)));
    byId("help-steps").hidden = steps.length === 0 || how === WAITING;
    setOptional("help-retry", how === WAITING ? "Reconnect now" : (retry ?? ""));
    byId("help-stop").hidden = how !== WAITING;
    const help = byId("help");
    help.dataset.name = name;
    help.hidden = false;
    help.scrollIntoView({ block: "nearest" });
    if (how === ENDED) byId("help-title").focus({ preventScroll: true });
  }

  /** `focusAfter` takes the focus if it was in the help. */
  hideHelp(focusAfter = this.talk) {
    const help = byId("help");
    if (help.contains(document.activeElement)) focusAfter.focus({ preventScroll: true });
    help.hidden = true;
  }

  showNotice(text) {
    setOptional("notice", text);
  }

  showModel(text) {
    byId("model").textContent = text;
  }

  showMuted(muted) {
    this.mute.setAttribute("aria-pressed", String(muted));
    this.muted = muted;
    if (document.body.dataset.state === "live") this.#showStatus();
    this.mute.title = muted ? "The microphone is muted" : "Mute the microphone";
  }

  /** Called a few times a second with the call's `stats()`. */
  showStats(stats) {
    byId("clock-time").textContent = clock(stats.seconds);
    byId("recorded").hidden = stats.recorded === 0;
    showLevel(this.levels.you, stats.levels.you);
    showLevel(this.levels.agent, stats.levels.agent);
    if (this.retryAt !== null) this.#showCountdown();
    if (this.figures.hidden) return;
    this.#showLag(stats.lag);
    byId("gaps").textContent = String(stats.underruns);
    const left = stats.dropped + stats.skipped + stats.unsent;
    byId("dropped").textContent = left < 10 ? `${Math.round(left * 1000)} ms` : `${left.toFixed(1)} s`;
    byId("dropped-parts").lastChild.textContent =
      ` is audio that came so late that playing it would only have added to the lag: ${milliseconds(stats.dropped)} by this page,` +
      ` ${milliseconds(stats.skipped)} by the server, ${milliseconds(stats.unsent)} of yours on a slow network or a busy device.` +
      ` Besides, ${milliseconds(stats.trimmed)} of silence were shortened.`;
    byId("call-facts").textContent = facts(stats);
  }

  #showCountdown() {
    const left = Math.max(0, this.retryAt - performance.now() / 1000);
    byId("countdown").textContent = `in ${Math.ceil(left)} s`;
  }

  #showLag(lag) {
    const figure = byId("lag");
    if (lag === null) {
      if (document.body.dataset.state !== "idle") figure.textContent = "–";
      return;
    }
    figure.textContent = `${lag.total.toFixed(2)} s`;
    figure.dataset.quality = lag.total < 0.4 ? "good" : lag.total < 0.8 ? "fair" : "poor";
    byId("lag-parts").textContent =
      `${milliseconds(lag.way)} for the frame itself, the network and the model, ` +
      `${milliseconds(lag.waiting)} in the player's buffer, ${milliseconds(lag.output)} in the sound device.`;
  }
}

function placeInLine(place) {
  return place === 1 ? "You are next. The call begins by itself." : "The call begins by itself when it is your turn.";
}

function showLevel(meter, rms) {
  const level = Math.round(100 * loudness(rms));
  meter.setAttribute("aria-valuenow", String(level));
  meter.style.setProperty("--level", `${level}%`);
}

function facts({ format, bytesSent, bytesReceived, seconds, reconnects }) {
  if (!format) return "";
  const rate = (bytes) => `${Math.round((bytes * 8) / 1000 / Math.max(1, seconds))} kbit/s`;
  const name = format === "opus" ? "Opus" : "raw samples";
  const again = reconnects > 0 ? ` Reconnected ${reconnects} ${reconnects === 1 ? "time" : "times"}.` : "";
  return `On the wire: ${name}, ${rate(bytesSent)} up and ${rate(bytesReceived)} down.${again}`;
}

function milliseconds(value) {
  return `${Math.round(value * 1000)} ms`;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function setOptional(id, text) {
  const target = byId(id);
  target.textContent = text;
  target.hidden = text === "";
}

/** The agent's words on the page, with copy, save and clear. */
export class TranscriptView {
  constructor() {
    this.log = byId("words");
    this.empty = byId("words-empty");
    this.buttons = ["copy", "save", "clear"].map(byId);
    const [copy, save, clear] = this.buttons;
    copy.onclick = () => this.#copy();
    save.onclick = () => this.#save();
    clear.onclick = () => this.clear();
    this.transcript = new Transcript();
  }

  add(piece, at) {
    const near = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    if (this.transcript.add(piece, at)) this.#addParagraph(at);
    if (this.transcript.empty) return;
    const { paragraphs } = this.transcript;
    this.words.textContent = paragraphs[paragraphs.length - 1].text;
    this.#changed();
    if (near) this.log.scrollTop = this.log.scrollHeight;
  }

  #addParagraph(at) {
    const row = element("p", undefined, "said");
    this.words = element("span", "");
    row.append(element("span", clock(at), "when"), " ", this.words);
    this.log.append(row);
  }

  breakHere() {
    this.transcript.breakHere();
  }

  clear() {
    this.transcript = new Transcript();
    this.log.replaceChildren(this.empty);
    this.#changed();
    this.log.focus();
  }

  setAnnounced(announced) {
    this.log.setAttribute("aria-live", announced ? "polite" : "off");
  }

  #changed() {
    this.empty.hidden = !this.transcript.empty;
    for (const button of this.buttons) button.disabled = this.transcript.empty;
  }

  async #copy() {
    const [copy] = this.buttons;
    try {
      await navigator.clipboard.writeText(this.transcript.toText());
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.log);
      copy.textContent = "Selected";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  }

  #save() {
    download(new Blob([this.transcript.toText()], { type: "text/plain" }), "txt");
  }
}
