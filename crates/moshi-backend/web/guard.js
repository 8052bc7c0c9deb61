// For handlers of events, whose errors nobody would catch.

/** The same function, but what it throws, now or later, goes to `onError(error)`. */
export function guard(handle, onError) {
  return (...given) => {
    try {
      handle(...given)?.catch?.(onError);
    } catch (error) {
      onError(error);
    }
  };
}

/** Runs each step, whatever becomes of the others. */
export function eachOf(...steps) {
  for (const step of steps) guard(step, (error) => console.error(error))();
}
