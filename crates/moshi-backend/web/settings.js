// What the person chose, kept in this browser only.

import { SAMPLING } from "./protocol.js";

const KEY = "rustymoshi.settings";
/** A server's key is a secret: it is kept only as long as this tab. */
const SECRET = "rustymoshi.key";

/** Every voice clean-up that browsers offer, and the server's choice of sampling. */
export function defaultSettings() {
  return {
    input: "",
    output: "",
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    format: "auto",
    theme: "auto",
    announce: false,
    record: true,
    key: "",
    voice: "",
    role: "",
    sampling: Object.fromEntries(SAMPLING.map(({ name }) => [name, null])),
  };
}

const CHOICES = { format: ["auto", "opus", "pcm"], theme: ["auto", "light", "dark"] };

/** Takes from `found` what makes sense and the default for the rest. */
export function cleanSettings(found) {
  const settings = defaultSettings();
  if (found === null || typeof found !== "object") return settings;
  for (const [key, initial] of Object.entries(settings)) {
    const value = found[key];
    if (key === "sampling" || typeof value !== typeof initial) continue;
    if (!CHOICES[key] || CHOICES[key].includes(value)) settings[key] = value;
  }
  for (const parameter of SAMPLING) {
    const value = found.sampling?.[parameter.name];
    if (inRange(parameter, value)) settings.sampling[parameter.name] = value;
  }
  return settings;
}

/** Whether a sampling parameter may have this value; null leaves it to the server. */
export function inRange({ min, max, step }, value) {
  if (value === null) return true;
  if (!Number.isFinite(value) || value < min || value > max) return false;
  return step < 1 || Number.isInteger(value);
}

export function loadSettings() {
  try {
    const key = sessionStorage.getItem(SECRET) ?? "";
    return { ...cleanSettings(JSON.parse(localStorage.getItem(KEY))), key };
  } catch {
    return defaultSettings(); // No storage, or somebody else's.
  }
}

export function saveSettings({ key, ...settings }) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
    sessionStorage.setItem(SECRET, key);
  } catch {
    // A private window without storage: the choices last as long as the page.
  }
}
