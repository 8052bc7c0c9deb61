// What the end of a connection means for the call. Pure.

import { SILENCE } from "./connection.js";

/** Close codes of calls that ended as they should: finished, and out of time. */
const ENDED = [1000, 4001];
/** Close codes after which calling again by itself makes sense: the server goes away, or nobody said anything. */
const BROKEN = [1001, 1005, 1006, 1012, SILENCE];
/** Try again later: every line is busy. */
const BUSY = 1013;
/** The server has heard nothing for too long: no message, or no answer to its pings. */
const UNHEARD = [4000, 4002];

/**
 * Takes what `Connection` tells at its end, and the server's last error message or null.
 * Returns `{ what, help, detail }`: the call is "over", was "refused", is "broken" and may be taken up again, or ended for
 * an "unknown" reason that the server must be asked for. `help` and `detail` are what a person is told.
 */
export function meaningOf({ opened, ready, code, reason }, serverError) {
  // The server's own message says more than the reason of the close frame.
  const words = serverError ?? reason;
  if (UNHEARD.includes(code)) return { what: "over", help: "idle", detail: "" };
  if (code === BUSY) return { what: "refused", help: "full", detail: reason };
  if (ready && ENDED.includes(code)) return { what: "over", help: "ended", detail: reason };
  if (ready && BROKEN.includes(code)) return { what: "broken", help: code === 1001 ? "draining" : "lost", detail: "" };
  if (ready || (opened && words)) return { what: "over", help: "call-error", detail: words || `code ${code}` };
  if (opened && code === SILENCE) return { what: "over", help: "silent", detail: "" };
  return { what: "unknown", help: "refused", detail: "" };
}
