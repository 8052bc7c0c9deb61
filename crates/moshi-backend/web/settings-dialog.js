// The settings dialog: shows and changes what settings.js keeps.

import { listDevices } from "./microphone.js";
import { SAMPLING } from "./protocol.js";
import { defaultSettings, inRange } from "./settings.js";

const byId = (id) => document.getElementById(id);
const VALUES = ["input", "output", "format", "theme", "key", "role", "voice"];
const CHECKS = ["echoCancellation", "noiseSuppression", "autoGainControl", "announce", "record"];

export class SettingsDialog {
  /** `onChange(settings)` follows every change that makes sense. */
  constructor(settings, onChange) {
    this.settings = settings;
    this.onChange = onChange;
    this.dialog = byId("settings");
    this.#buildSampling();
    for (const name of VALUES) byId(`set-${name}`).onchange = (event) => this.#set({ [name]: event.target.value });
    for (const name of CHECKS) byId(`set-${name}`).onchange = (event) => this.#set({ [name]: event.target.checked });
    byId("set-reset").onclick = () => this.#set(defaultSettings(), true);
    byId("open-settings").onclick = () => this.open();
    // A click on the backdrop lands on the dialog itself.
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.dialog.open && this.#listDevices());
    byId("access").hidden = settings.key === "";
    this.#show();
  }

  /** The server has asked for a key. */
  showAccess() {
    byId("access").hidden = false;
  }

  /** The served model plays roles: `{ voices, voice, role }` of its status, or null for one that plays none. */
  showRoles(roles) {
    byId("part").hidden = roles === null;
    if (roles === null) return;
    const usual = roles.voice ? `The server's choice (${roles.voice})` : "The server's choice";
    const voices = roles.voices.map((name) => new Option(name, name));
    byId("set-voice").replaceChildren(new Option(usual, ""), ...voices);
    if (roles.role) byId("set-role").placeholder = roles.role;
    if (!roles.voices.includes(this.settings.voice)) this.#set({ voice: "" }); // It is not there now.
    this.#show();
  }

  async open() {
    this.#show();
    this.dialog.showModal();
    await this.#listDevices();
  }

  /** Shows what the server uses for the parameters that were left to it; `metadata` is that of a call. */
  showServersChoice(metadata) {
    for (const { name } of SAMPLING) {
      const used = metadata[name];
      // Single precision on the server: 0.7 comes back as 0.699999988.
      if (Number.isFinite(used)) byId(`sampling-${name}`).placeholder = String(Number(used.toPrecision(6)));
    }
  }

  #set(changes, show = false) {
    this.settings = { ...this.settings, ...changes };
    if (show) this.#show();
    this.onChange(this.settings);
  }

  #show() {
    for (const name of VALUES) byId(`set-${name}`).value = this.settings[name];
    for (const name of CHECKS) byId(`set-${name}`).checked = this.settings[name];
    for (const { name } of SAMPLING) {
      const field = byId(`sampling-${name}`);
      field.value = this.settings.sampling[name] ?? "";
      field.removeAttribute("aria-invalid");
    }
  }

  #buildSampling() {
    const fields = SAMPLING.map((parameter) => {
      const label = document.createElement("label");
      label.className = "field";
      const input = document.createElement("input");
      Object.assign(input, { type: "number", id: `sampling-${parameter.name}`, min: parameter.min, max: parameter.max, step: parameter.step });
      input.placeholder = String(parameter.usual ?? "any");
      input.oninput = () => this.#setSampling(parameter, input);
      label.append(parameter.label, input);
      return label;
    });
    byId("sampling").replaceChildren(...fields);
  }

  /** A value out of range is marked and not taken over; an empty field leaves it to the server. */
  #setSampling(parameter, input) {
    const value = input.value === "" && !input.validity.badInput ? null : input.valueAsNumber;
    const good = inRange(parameter, value);
    input.setAttribute("aria-invalid", String(!good));
    input.title = good ? "" : `From ${parameter.min} to ${parameter.max}`;
    if (good) this.#set({ sampling: { ...this.settings.sampling, [parameter.name]: value } });
  }

  async #listDevices() {
    const { inputs, outputs } = await listDevices();
    fill(byId("set-input"), inputs, this.settings.input);
    fill(byId("set-output"), outputs, this.settings.output);
    byId("output-field").hidden = outputs.length === 0;
    byId("devices-hint").hidden = inputs.length > 0;
  }
}

function fill(select, devices, chosen) {
  const others = devices.filter(({ deviceId }) => deviceId !== "default" && deviceId !== "communications");
  const options = others.map(({ deviceId, label }) => new Option(label, deviceId));
  select.replaceChildren(new Option("System default", ""), ...options);
  select.value = chosen;
  if (select.value !== chosen) select.value = ""; // The chosen one is not there now.
}
