// What the page says when something is missing or goes wrong: what happened, and what to do about it.
// `retry` is the label of the button that tries again; without it, trying again is no use.

export const HELP = Object.freeze({
  insecure: {
    title: "This page cannot use a microphone",
    text: "Browsers give the microphone only to secure pages, and this one came over plain http.",
    steps: [
      "Open the page over https. A server started without --no-tls has it; its certificate is self-signed, so the browser asks once whether to go on.",
      "Or open it on the machine that runs the server, as http://localhost.",
    ],
  },
  "old-browser": {
    title: "This browser is too old",
    text: "Talking needs microphone access and audio worklets.",
    steps: ["Use a current Chrome, Edge, Firefox or Safari."],
  },
  "no-permission": {
    title: "The microphone is not allowed",
    text: "Without it, there is nothing to listen to.",
    steps: [
      "Click the icon left of the address and allow the microphone for this page.",
      "If it is allowed there, look into the system's privacy settings: the browser itself may be kept out.",
    ],
    retry: "Try again",
  },
  "no-microphone": {
    title: "There is no microphone",
    text: "The browser found no device to record from.",
    steps: ["Plug in a microphone or headset, or switch on a wireless one.", "See whether the system lists it as an input."],
    retry: "Try again",
  },
  "microphone-busy": {
    title: "The microphone is taken",
    text: "Another program holds it, or the system would not start it.",
    steps: ["Close other calls and recorders.", "Or choose another microphone in the settings."],
    retry: "Try again",
  },
  "microphone-failed": {
    title: "The microphone could not be started",
    text: "The browser did not say more than this:",
    steps: ["Choose another microphone in the settings.", "Reload the page."],
    retry: "Try again",
  },
  "sound-paused": {
    title: "The sound is paused",
    text: "The system has given it to something else, perhaps a telephone call. This call goes on by itself when it is back.",
    steps: [],
    retry: "Go on",
  },
  "microphone-muted": {
    title: "The system has muted the microphone",
    text: "Moshi hears silence until it is back. Another call may have it, or a switch on the device is off.",
    steps: [],
    retry: "Go on",
  },
  "microphone-away": {
    title: "The microphone went away",
    text: "Moshi hears silence until there is one again.",
    steps: ["Plug one in, or switch it on."],
    retry: "Go on",
  },
  "microphone-taken": {
    title: "Something else has taken the microphone",
    text: "Moshi hears silence until it is free again.",
    steps: ["Close other calls and recorders."],
    retry: "Go on",
  },
  "microphone-denied": {
    title: "The microphone is not allowed any more",
    text: "Moshi hears silence until it is.",
    steps: ["Click the icon left of the address and allow the microphone for this page again."],
    retry: "Go on",
  },
  "gave-up": {
    title: "The call was paused for too long",
    text: "Sound or microphone did not come back within ten minutes, so the page has ended the call.",
    steps: [],
    retry: "Call again",
  },
  idle: {
    title: "The server ended the call",
    text: "It heard nothing from this page for too long, or could not reach it, and has given the place to others.",
    steps: [],
    retry: "Call again",
  },
  left: {
    title: "The call ended when you left the page",
    text: "Nothing was heard or sent since.",
    steps: [],
    retry: "Call again",
  },
  full: {
    title: "Every line is busy",
    text: "The server talks to as many people as it can in real time, and it is at its limit.",
    steps: ["Try again in a minute."],
    retry: "Try again",
  },
  draining: {
    title: "The server is restarting",
    text: "It takes calls again when it is back.",
    steps: ["Try again in a minute."],
    retry: "Try again",
  },
  failed: {
    title: "The server's model has failed",
    text: "The server answers, but it cannot talk any more.",
    steps: ["Tell whoever runs it to look into its log and restart it."],
    retry: "Try again",
  },
  unreachable: {
    title: "The server does not answer",
    text: "It may be stopped, restarting, or out of reach.",
    steps: ["See whether the server runs.", "Check this device's network."],
    retry: "Try again",
  },
  key: {
    title: "This server wants a key",
    text: "Only callers with a key are let in.",
    steps: ["Write the key under Access in the settings; whoever runs the server gives it out."],
    retry: "Try again",
  },
  refused: {
    title: "The server did not take the call",
    text: "It is there and has room, but it refused.",
    steps: [
      "Reset the sampling parameters in the settings: one may be outside what this server allows.",
      "If the page comes through a proxy or from elsewhere, the server must allow its origin (--allow-origin).",
    ],
    retry: "Try again",
  },
  silent: {
    title: "The server took the call but never got ready",
    text: "It may still be loading its model.",
    steps: ["Try again in a minute."],
    retry: "Try again",
  },
  lost: {
    title: "The connection was lost",
    text: "The call broke off in the middle.",
    steps: [],
    retry: "Reconnect now",
  },
  ended: {
    title: "The server ended the call",
    text: "Calls may be limited in time.",
    steps: [],
    retry: "Call again",
  },
  "call-error": {
    title: "The call ended with an error",
    text: "The server says:",
    steps: [],
    retry: "Call again",
  },
  codec: {
    title: "The browser's audio codec failed",
    text: "The call was stopped.",
    steps: ["Choose “Raw samples” under Sound in the settings."],
    retry: "Try again",
  },
  "no-opus": {
    title: "This browser has no Opus codec",
    text: "“Opus” is chosen in the settings, and this browser cannot encode or decode it.",
    steps: ["Choose “Opus if possible” or “Raw samples” under Sound in the settings."],
    retry: "Try again",
  },
  unexpected: {
    title: "Something went wrong in the page",
    text: "The browser says:",
    steps: ["Reload the page."],
    retry: "Try again",
  },
});
