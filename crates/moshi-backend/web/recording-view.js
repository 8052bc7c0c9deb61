// The recording of the last call on the page: listen to it, save it, or throw it away.

import { clock } from "./transcript.js";

const byId = (id) => document.getElementById(id);

/** Hands a file to the person; the name carries the time. */
export function download(blob, extension) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `moshi-${new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-")}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export class RecordingView {
  /** `focusAfter` takes the focus when the recording goes away. */
  constructor(focusAfter) {
    this.section = byId("recording");
    this.player = byId("recording-player");
    this.blob = null;
    byId("recording-save").onclick = () => download(this.blob, "wav");
    byId("recording-discard").onclick = () => {
      this.clear();
      focusAfter.focus();
    };
  }

  show(recording) {
    this.clear();
    this.blob = recording.toWav();
    const first = recording.full ? "The first " : "";
    byId("recording-length").textContent = `${first}${clock(recording.seconds)}`;
    this.player.src = URL.createObjectURL(this.blob);
    this.section.hidden = false;
  }

  clear() {
    if (this.player.src) URL.revokeObjectURL(this.player.src);
    this.player.removeAttribute("src");
    this.player.load();
    this.blob = null;
    this.section.hidden = true;
  }
}
