// Puts the page together: buttons and settings on one side, the call on the other.

import { missingFeature } from "./audio.js";
import { Call } from "./call.js";
import { serverStatus } from "./connection.js";
import { Visualiser } from "./meter.js";
import { Notices } from "./notices.js";
import { RecordingView } from "./recording-view.js";
import { SettingsDialog } from "./settings-dialog.js";
import { loadSettings, saveSettings } from "./settings.js";
import { TranscriptView, Ui } from "./ui.js";

const ui = new Ui();
const words = new TranscriptView();
const notices = new Notices((text) => ui.showNotice(text));
const recordings = new RecordingView(ui.talk);
let settings = loadSettings();

const call = new Call(location.href, {
  onState(state, more) {
    ui.showState(state, more);
    visualiser.setActive(state !== "idle");
    ui.showStats(call.stats());
  },
  onText: (piece, at) => words.add(piece, at),
  onBreak: () => words.breakHere(),
  onMetadata(value) {
    const name = modelName(value);
    if (name) ui.showModel(name);
    dialog.showServersChoice(value);
  },
  onRecording: (recording) => recordings.show(recording),
  onHelp(name, detail) {
    if (name === "key") dialog.showAccess();
    ui.showHelp(name, detail);
  },
  onNotice: (text) => notices.show(text),
  onPause: (name) => ui.setPause(name),
});

const visualiser = new Visualiser(ui.canvas, ui.swatches, () => call.stats().levels);

function applyTheme() {
  if (settings.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = settings.theme;
  visualiser.restyle();
}

const dialog = new SettingsDialog(settings, (changed) => {
  settings = changed;
  saveSettings(settings);
  applyTheme();
  words.setAnnounced(settings.announce);
  call.applySettings(settings);
});

function talkOrHangUp() {
  const missing = missingFeature();
  if (call.state !== "idle") call.hangUp();
  else if (missing) ui.showHelp(missing);
  else {
    recordings.clear();
    call.start(settings);
  }
}

ui.talk.onclick = talkOrHangUp;
ui.mute.onclick = () => {
  call.setMuted(!call.muted);
  ui.showMuted(call.muted);
};
document.getElementById("help-retry").onclick = () => {
  if (call.state === "waiting") call.retryNow();
  else if (call.state === "idle") talkOrHangUp();
  else call.goOn();
};
document.getElementById("help-stop").onclick = () => {
  call.hangUp();
  ui.hideHelp();
  ui.talk.focus();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => visualiser.restyle());
let left = false;
addEventListener("pagehide", () => {
  left = call.state !== "idle";
  if (left) call.hangUp();
});
// Browsers may keep a page that was left, and show it again as it was.
addEventListener("pageshow", ({ persisted }) => persisted && left && ui.showHelp("left"));
setInterval(() => ui.showStats(call.stats()), 200);

/** What a server calls its model: its own name for it, or the file's without the folders. */
function modelName({ model, lm_model_file: file }) {
  return String(model ?? file ?? "").split("/").pop();
}

async function introduce() {
  const { body } = await serverStatus(location.href, settings.key);
  if (typeof body.model === "string") ui.showModel(modelName(body));
  if (typeof body.notice === "string") notices.setStanding(body.notice);
  const roles = body.roles ?? null;
  call.playsRoles = roles !== null;
  dialog.showRoles(roles);
}

applyTheme();
words.setAnnounced(settings.announce);
ui.showState("idle");
ui.showMuted(false);
ui.talk.disabled = false;
const missing = missingFeature();
if (missing) ui.showHelp(missing);
introduce();

/** For the console and for tests: what the page knows about the call. */
window.moshi = Object.freeze({ stats: () => call.stats() });
