// The moments at which sound and microphone may come back. Systems that take them away do not always say when they give
// them back, so the page looks whenever a person turns to it, and twice a second besides.

const EVERY_MS = 500;

/**
 * Calls `look({ here, devices })` at each such moment: `here` when a person is at the page, `devices` when devices came
 * or went. Returns what ends it.
 */
export function watchMoments(look) {
  const end = new AbortController();
  const on = (target, names, what) => {
    for (const name of names) target?.addEventListener?.(name, () => look(what), { signal: end.signal, capture: true, passive: true });
  };
  on(document, ["visibilitychange", "resume"], {});
  on(window, ["pageshow", "online"], {});
  on(window, ["focus"], { here: true });
  // Some browsers let a page resume its sound only in these.
  on(document, ["pointerdown", "pointerup", "touchend", "click", "keydown"], { here: true });
  on(navigator.mediaDevices, ["devicechange"], { devices: true });
  const timer = setInterval(() => look({}), EVERY_MS);
  return () => {
    end.abort();
    clearInterval(timer);
  };
}
