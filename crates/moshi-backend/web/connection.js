// One WebSocket call, the waits between tries, and finding out why a server said no.

import { guard } from "./guard.js";
import { PING, decodeMessage, encodeAudio, subprotocols } from "./protocol.js";

/** A server that says nothing for this long is lost: while we talk, its answer comes every 80 ms. */
const SILENCE_MS = 10000;
/** What `onClose` gets for a code when the server fell silent; no server sends it. */
export const SILENCE = -1;
/** A wait that ends so much later than it should was that of a frozen page; what came meanwhile is still to be read. */
const LATE_MS = 1000;
/** Loading a model may take a while before the handshake. */
const HANDSHAKE_MS = 60000;
/** Audio beyond this in the socket's own buffer would arrive too late to matter. */
const LONGEST_BACKLOG_BYTES = 64 * 1024;

export class Connection {
  /**
   * Throws a SyntaxError if `key` has characters that no header can carry.
   * Events: `onReady(handshake)`, `onMessage(message)`, and once, at the end, `onClose({ opened, ready, code, reason })`
   * with `code` SILENCE if it was us who gave up; `onError(error)` for what goes wrong in the page while it hears.
   */
  constructor(url, key, events) {
    this.events = events;
    this.opened = false;
    this.ready = false;
    this.closed = false;
    this.answers = true;
    this.bytesSent = 0;
    this.bytesReceived = 0;
    this.unknown = 0;
    /** Audio messages not sent because the network could not keep up. */
    this.unsent = 0;
    this.socket = new WebSocket(url, subprotocols(key));
    this.socket.binaryType = "arraybuffer";
    const on = (handle) => guard(handle, (error) => this.events.onError(error));
    this.socket.onopen = on(() => {
      this.opened = true;
      this.#expect(HANDSHAKE_MS);
    });
    this.socket.onmessage = on(({ data }) => this.#receive(data));
    this.socket.onclose = on(({ code, reason }) => this.#finish(code, reason));
    this.#expect(SILENCE_MS);
  }

  /** Starts the wait for the next sign of life anew. */
  #expect(milliseconds) {
    clearTimeout(this.timer);
    if (this.closed || (this.ready && !this.answers)) return;
    const due = performance.now() + milliseconds;
    this.timer = setTimeout(() => {
      if (performance.now() > due + LATE_MS) return this.#expect(LATE_MS);
      this.#finish(SILENCE, "");
      this.socket.close();
    }, milliseconds);
  }

  /** Whether the server has anything to answer: while nothing is said to it, its silence means nothing. */
  expectAnswers(yes) {
    this.answers = yes;
    if (this.ready) this.#expect(SILENCE_MS);
  }

  /** Shows that the caller lives. */
  ping() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(PING);
  }

  #receive(data) {
    if (this.closed) return;
    const message = typeof data === "string" ? { kind: "invalid", reason: "a text frame" } : decodeMessage(data);
    this.bytesReceived += data.byteLength ?? data.length;
    if (message.kind === "handshake" && !this.ready) {
      this.ready = true;
      this.events.onReady(message);
    }
    if (this.closed) return; // it could not begin
    if (message.kind === "invalid") this.unknown += 1;
    this.#expect(this.ready ? SILENCE_MS : HANDSHAKE_MS);
    this.events.onMessage(message);
  }

  /** Sends one audio message, unless the network is so far behind that it would only add to the lag. */
  sendAudio(payload) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    if (this.socket.bufferedAmount > LONGEST_BACKLOG_BYTES) {
      this.unsent += 1;
      return false;
    }
    const message = encodeAudio(payload);
    this.bytesSent += message.length;
    this.socket.send(message);
    return true;
  }

  #finish(code, reason) {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.timer);
    this.events.onClose({ opened: this.opened, ready: this.ready, code, reason });
  }

  /** Hangs up; no event follows. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    if (this.socket.readyState <= WebSocket.OPEN) this.socket.close(1000);
  }
}

/** How long to wait before the next try: 1, 2, 4, 8, then 15 seconds, a little scattered so that callers do not return as one. */
export class Backoff {
  constructor(random = Math.random) {
    this.random = random;
    this.tries = 0;
  }

  next() {
    const seconds = Math.min(15, 2 ** this.tries);
    this.tries += 1;
    return seconds * (0.85 + 0.3 * this.random());
  }

  reset() {
    this.tries = 0;
  }
}

/**
 * What the server says about itself: `{ status, body }` of /status, with status 0 where nobody answers.
 * The body has state (ready, draining, failed), sessions, capacity, model, notice and version; a foreign server's may lack any.
 */
export function serverStatus(pageUrl, key, fetcher = fetch) {
  return askServer(new URL("status", pageUrl), key, fetcher);
}

async function askServer(url, key, fetcher) {
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetcher(url, { headers, cache: "no-store", signal: AbortSignal.timeout(5000) });
    const body = await response.json().catch(() => null);
    return { status: response.status, body: body !== null && typeof body === "object" ? body : {} };
  } catch {
    return { status: 0, body: {} };
  }
}

/**
 * Browsers do not tell a page why a WebSocket to `chat` was refused, so ask the server in plain HTTP.
 * Returns `{ help, detail }` in the words of help.js.
 */
export async function diagnose(pageUrl, chat, key, fetcher = fetch) {
  const { status, body } = await serverStatus(pageUrl, key, fetcher);
  if (status === 0 || status === 502 || status === 504) return { help: "unreachable", detail: "" };
  const { sessions, capacity } = body;
  if (body.state === "draining") return { help: "draining", detail: "" };
  if (body.state === "failed") return { help: "failed", detail: "" };
  if (Number.isFinite(sessions) && Number.isFinite(capacity) && sessions >= capacity) {
    return { help: "full", detail: `${sessions} of ${capacity} calls are going on.` };
  }
  // The same request without the upgrade: the server checks keys, origin and parameters before it minds that.
  const address = new URL(chat);
  address.protocol = address.protocol === "wss:" ? "https:" : "http:";
  const refusal = await askServer(address, key, fetcher);
  if (status === 401 || refusal.status === 401) return { help: "key", detail: key ? "The key in the settings is not one of its." : "" };
  const told = refusal.body.error !== "not_a_websocket" && typeof refusal.body.reason === "string";
  return { help: "refused", detail: told ? refusal.body.reason : "" };
}
