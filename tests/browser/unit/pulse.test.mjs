import assert from "node:assert/strict";
import { test } from "node:test";

import { CallTime } from "../../../crates/moshi-backend/web/call-time.js";
import { PULSE_DEFAULTS, Pulse } from "../../../crates/moshi-backend/web/pulse.js";

/** Lets time pass in steps of the page's own, with or without an audio thread; returns what was thought at each. */
class Sound {
  constructor() {
    this.now = 100;
    this.pulse = new Pulse(this.now);
    this.state = "running";
    this.pass(3, ["microphone", "player"]);
  }

  pass(seconds, parts = [], step = 0.5) {
    const thoughts = [];
    for (const end = this.now + seconds; this.now < end - 1e-9; ) {
      this.now += step;
      for (const part of parts) this.pulse.beat(part, this.now);
      thoughts.push(this.pulse.judge(this.state, this.now));
    }
    return thoughts;
  }
}

const BOTH = ["microphone", "player"];
const { stalled, refused, longest } = PULSE_DEFAULTS;

test("an audio thread that is heard of is well, and one that only starts has time", () => {
  const sound = new Sound();
  assert.deepEqual(new Set(sound.pass(60, BOTH)), new Set(["well"]));
  const fresh = new Pulse(0);
  assert.equal(fresh.judge("running", 1.5), "well");
  assert.equal(fresh.judge("running", 2.5), "paused");
});

test("silence is a pause whatever the context says of itself, and both ends must be heard of", () => {
  for (const state of ["running", "suspended", "interrupted", "some new word"]) {
    for (const parts of [[], ["microphone"], ["player"]]) {
      const sound = new Sound();
      sound.state = state;
      assert.deepEqual(sound.pass(1.5, parts), ["well", "paused", "paused"], `${state}: ${parts}`);
      assert.deepEqual(sound.pass(0.5, BOTH), ["well"]);
    }
  }
});

test("a context that claims to run is given up soon, one that may not resume later, a closed one at once", () => {
  const dead = (state) => {
    const sound = new Sound();
    sound.state = state;
    return 0.5 * (1 + sound.pass(20).indexOf("dead"));
  };
  assert.equal(dead("running"), stalled);
  assert.ok(dead("suspended") >= refused && dead("suspended") <= refused + 0.5);
  assert.equal(dead("interrupted"), dead("suspended"));
  assert.equal(dead("closed"), 1);
});

test("replacements that do not help come at growing intervals, and one that helps begins anew", () => {
  const sound = new Sound();
  const at = [];
  for (let i = 0; i < 8; i++) {
    while (sound.pass(0.5)[0] !== "dead");
    at.push(sound.now);
    sound.pulse.noteReplaced(sound.now);
  }
  const waits = at.slice(1).map((time, i) => time - at[i]);
  assert.deepEqual(waits, [...waits].sort((a, b) => a - b));
  assert.equal(waits.at(-1), longest);
  sound.pass(1, BOTH);
  assert.ok(sound.pass(4).includes("dead"));
});

test("who asks does not wait, and who asks for what is well changes nothing", () => {
  const sound = new Sound();
  sound.pulse.ask(sound.now);
  sound.state = "suspended";
  assert.deepEqual(sound.pass(2), ["well", "paused", "paused", "paused"]);
  sound.pulse.ask(sound.now);
  assert.deepEqual(sound.pass(1), ["paused", "dead"]);
});

test("the time of a frozen page counts as nothing", () => {
  const sound = new Sound();
  assert.deepEqual(sound.pass(60, [], 60), ["well"]);
  assert.deepEqual(sound.pass(0.5, BOTH), ["well"]);
  // A page whose timers are held back to once a minute learns nothing either, and does no harm.
  assert.deepEqual(new Set(sound.pass(300, [], 60)), new Set(["well"]));
});

test("a pause outlasts a change of the context's word, until something is heard", () => {
  const sound = new Sound();
  sound.state = "suspended";
  sound.pass(3);
  sound.state = "running";
  assert.deepEqual(sound.pass(1), ["paused", "paused"]);
  assert.deepEqual(sound.pass(0.5, BOTH), ["well"]);
});

test("a call's clock stands still while the sound is away", () => {
  const time = new CallTime();
  time.stop(5);
  assert.equal(time.at(9), 0, "it has not begun");
  time.begin(10);
  assert.equal(time.at(14), 4);
  time.stop(15);
  time.stop(17);
  assert.equal(time.at(90), 5);
  time.begin(50);
  time.goOn(100);
  time.goOn(101);
  assert.equal(time.at(102), 7);
  const early = new CallTime();
  early.begin(10);
  early.stop(3);
  assert.equal(early.at(110), 0, "what was heard before the call began is no part of it");
});
