"""A call while the system takes sound or microphone away, and gives them back: another call, another program, a cable.

No test machine has a telephone, so `SYSTEM` plays its part at the edge of the browser: what it takes is really gone
(contexts are suspended or closed, tracks stopped), and only the browser's own answers about it are put on.
"""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

SPOKEN = 0.002

SYSTEM = """
window.system = { taken: null, made: [], nodes: [], tracks: [], gone: null, opened: 0 };
{
  const Context = AudioContext, Node = AudioWorkletNode, { resume } = AudioContext.prototype;
  const state = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, "state").get;
  window.AudioContext = class extends Context {
    constructor(...given) {
      super(...given);
      system.made.push(this);
      if (taken(this)) this.suspend();
    }
  };
  window.AudioWorkletNode = class extends Node { constructor(...given) { super(...given); system.nodes.push(this); } };
  let touched = -Infinity;
  addEventListener("pointerup", ({ isTrusted }) => { if (isTrusted) touched = performance.now(); }, true);
  const taken = (context) => system.taken && (!system.only || system.only.includes(context)) && system.taken;
  Context.prototype.resume = function () {
    const how = taken(this);
    if (how === "refused") return Promise.reject(new DOMException("interrupted", "InvalidStateError"));
    if (how === "pending" || how === "interrupted") return new Promise(() => {});
    if (how === "stands still" || how === "touch" && performance.now() - touched > 500) return Promise.resolve();
    return resume.call(this);
  };
  Object.defineProperty(Context.prototype, "state", { configurable: true, get() {
    const how = taken(this);
    return how === "stands still" ? "running" : how === "interrupted" ? how : state.call(this);
  } });
  system.take = (how, only) => {
    Object.assign(system, { only, taken: how });
    for (const context of system.made) context.suspend().catch(() => {});
  };
  system.giveBack = () => { system.taken = null; };

  const { getUserMedia } = MediaDevices.prototype;
  MediaDevices.prototype.getUserMedia = async function (...wishes) {
    if (system.gone) throw new DOMException("taken by the system", system.gone);
    const stream = await getUserMedia.apply(this, wishes);
    system.opened += 1;
    system.tracks.push(...stream.getAudioTracks());
    return stream;
  };
  const last = () => system.tracks.at(-1);
  system.unplug = (error) => { system.gone = error; last().stop(); last().dispatchEvent(new Event("ended")); };
  system.mute = (yes) => {
    Object.defineProperty(last(), "muted", { configurable: true, value: yes });
    last().dispatchEvent(new Event(yes ? "mute" : "unmute"));
  };
}
"""


@pytest.fixture
def caller(server, visitor):
    """Somebody in a call, at a machine whose system the test plays."""
    return begin(visitor, server.url)


def begin(visitor, url):
    visitor.page.add_init_script(SYSTEM)
    visitor.open(url)
    visitor.call()
    visitor.wait_for("s.sent > 0.5 && s.played > 0.3")
    return visitor


def system(visitor, what: str) -> None:
    visitor.page.evaluate(f"() => {{ {what}; }}")


def is_heard_again(visitor, seconds: float = 10) -> None:
    """The caller's voice goes out, the answer is played, nothing is shown any more, and it is still the same call."""
    before = visitor.stats()
    visitor.wait_for(f"s.sent > {before['sent'] + 1} && s.playedEnergy > {before['playedEnergy'] + SPOKEN}", seconds)
    visitor.wait_for("s.pause === null")
    assert visitor.page.is_hidden("#help")
    assert len(visitor.sockets) == 1 and visitor.stats()["reconnects"] == 0


WAYS = ["refused", "pending", "interrupted", "stands still"]


def test_sound_that_was_taken_away_comes_back_without_anybody_doing_anything(caller):
    for how in WAYS:
        system(caller, f"system.take('{how}')")
        caller.wait_for("s.pause === 'sound-paused'")
        assert caller.help() == "sound-paused", how
        assert caller.page.inner_text("#help-retry") == "Go on"
        assert caller.page.inner_text("#status") == "Paused."
        before = caller.stats()
        caller.page.wait_for_timeout(1000)
        after = caller.stats()
        # The call's clock stands still, like the recording's.
        assert [after[what] for what in ("sent", "seconds")] == [before[what] for what in ("sent", "seconds")], how
        system(caller, "system.giveBack()")
        is_heard_again(caller)
    stats = caller.stats()
    assert stats["recorded"] == pytest.approx(stats["seconds"], abs=1), "the words' times are the recording's"


MOMENTS = {
    "seen": "document.dispatchEvent(new Event('visibilitychange'))",
    "thawed": "document.dispatchEvent(new Event('resume'))",
    "shown again": "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))",
    "focused": "dispatchEvent(new FocusEvent('focus'))",
    "other devices": "navigator.mediaDevices.dispatchEvent(new Event('devicechange'))",
    "touched": "document.body.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}))",
    "typed at": "document.body.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true}))",
}


def test_every_sign_of_the_person_is_a_moment_to_go_on_at_once(caller):
    # No timer helps: the page may be one of those whose timers a browser holds back.
    system(caller, "for (let i = 1; i < 1e5; i++) clearInterval(i)")
    for moment, sign in MOMENTS.items():
        system(caller, "system.take('refused')")
        caller.page.wait_for_timeout(500)
        before = caller.stats()["sent"]
        system(caller, "system.giveBack()")
        caller.page.wait_for_timeout(500)
        assert caller.stats()["sent"] == before, moment
        system(caller, sign)
        caller.wait_for(f"s.sent > {before + 0.2}", 3)


def test_the_button_goes_on_where_a_browser_wants_a_touch(caller):
    system(caller, "system.take('touch')")
    assert caller.help() == "sound-paused"
    caller.page.wait_for_timeout(2000)
    assert caller.stats()["pause"] == "sound-paused"
    caller.page.click("#help-retry")
    is_heard_again(caller)
    assert caller.page.evaluate("document.activeElement.id") == "words", "and not the button that hangs up"


DEATHS = {
    "stands still": "system.take('stands still', [...system.made])",
    "never resumes": "system.take('refused', [...system.made])",
    "closed by the system": "system.made.at(-1).close()",
    "its worklets have died": "system.nodes.forEach((node) => node.port.postMessage({type: 'stop'}))",
}


def test_a_context_that_has_died_is_replaced(caller):
    for how, death in DEATHS.items():
        contexts, played = caller.page.evaluate("system.made.length"), caller.stats()["played"]
        system(caller, death)
        caller.wait_for("s.pause === 'sound-paused'")
        is_heard_again(caller, 15)
        assert caller.page.evaluate("system.made.length") == contexts + 1, how
        assert caller.stats()["played"] > played, "the figures go on"
        system(caller, "system.giveBack()")


def test_who_was_muted_is_muted_in_the_context_that_replaces_another(caller):
    caller.page.click("#mute")
    system(caller, "system.made.at(-1).close()")
    caller.wait_for("s.pause === 'sound-paused'")
    caller.wait_for("s.pause === null", 15)
    caller.page.wait_for_timeout(500)
    before = caller.stats()
    caller.wait_for(f"s.played > {before['played'] + 2}")
    assert caller.stats()["playedEnergy"] - before["playedEnergy"] < SPOKEN / 20


def test_the_button_replaces_a_dead_context_without_a_long_wait(caller):
    system(caller, "system.take('refused', [...system.made])")
    assert caller.help() == "sound-paused"
    caller.page.click("#help-retry")
    caller.wait_for("s.pause === null", 4)
    is_heard_again(caller)


def test_sound_that_is_taken_before_the_call_begins_delays_it(server, visitor):
    visitor.page.add_init_script(SYSTEM)
    page = visitor.open(server.url)
    system(visitor, "system.take('pending')")
    page.click("#talk")
    assert visitor.help() == "sound-paused"
    assert visitor.stats()["state"] == "opening" and visitor.sockets == [], "no place is taken by who cannot hear"
    system(visitor, "system.giveBack()")
    visitor.wait_for("s.state === 'live' && s.played > 1")
    assert page.is_hidden("#help")


def server_that_waits(start_server, tmp_path, seconds: int):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model": "loopback", "idle_timeout_s": seconds}))
    return start_server("--config", str(config), "--model", "loopback")


def places(server) -> int:
    with urllib.request.urlopen(f"{server.url}status", timeout=5) as answer:
        return json.load(answer)["sessions"]


def test_the_server_keeps_the_call_while_there_is_hope(start_server, visitor, tmp_path):
    caller = begin(visitor, server_that_waits(start_server, tmp_path, 4).url)
    system(caller, "system.take('refused')")
    # Longer than the server's limit and than the page's own patience with a server that says nothing.
    caller.page.wait_for_timeout(13_000)
    assert caller.stats()["state"] == "live"
    system(caller, "system.giveBack()")
    is_heard_again(caller)


def test_a_call_that_the_server_has_ended_meanwhile_says_so(start_server, visitor, tmp_path):
    server = server_that_waits(start_server, tmp_path, 1)
    caller = begin(visitor, server.url)
    system(caller, "system.take('refused')")
    caller.wait_for("s.state === 'idle'")
    assert caller.help() == "idle"
    assert "heard nothing" in caller.page.inner_text("#help-text")
    caller.look("help-idle")
    system(caller, "system.giveBack()")
    caller.page.click("#help-retry")
    caller.wait_for("s.state === 'live' && s.played > 1")


def test_hope_ends_after_ten_minutes(server, visitor):
    visitor.page.clock.install()
    caller = begin(visitor, server.url)
    system(caller, "system.take('refused')")
    assert caller.help() == "sound-paused"
    caller.page.clock.fast_forward(601_000)
    caller.wait_for("s.state === 'idle'")
    assert caller.help() == "gave-up"
    caller.look("help-gave-up")


def test_a_microphone_that_went_away_is_used_again_when_it_is_back(caller):
    plugged = "navigator.mediaDevices.dispatchEvent(new Event('devicechange'))"
    for error, name, sign in [
        ("NotFoundError", "microphone-away", plugged),
        ("NotReadableError", "microphone-taken", "0"),
        ("AbortError", "microphone-taken", plugged),
        ("NotFoundError", "microphone-away", "0"),
    ]:
        system(caller, f"system.unplug('{error}')")
        caller.wait_for(f"s.pause === '{name}'")
        assert caller.help() == name
        assert caller.page.inner_text("#status") == "Moshi hears silence."
        caller.wait_for(f"s.sent > {caller.stats()['sent'] + 0.5}")
        system(caller, f"system.gone = null; {sign}")
        is_heard_again(caller)
        assert "Listening to" in caller.page.inner_text("#notice")


def test_another_microphone_takes_over_at_once(caller):
    system(caller, "system.unplug(null)")
    is_heard_again(caller)
    assert "Listening to" in caller.page.inner_text("#notice")


def test_a_track_that_ends_without_an_event_is_noticed(caller):
    system(caller, "system.tracks.at(-1).stop()")
    caller.page.wait_for_function("() => system.opened === 2")
    is_heard_again(caller)


def test_a_microphone_that_the_system_mutes_is_told_and_opened_anew_if_it_stays_so(caller):
    for opened, what in [(0, "system.mute(false)"), (1, "document.querySelector('#help-retry').click()"), (1, "0")]:
        before = caller.page.evaluate("system.opened")
        system(caller, "system.mute(true)")
        caller.wait_for("s.pause === 'microphone-muted'")
        assert caller.help() == "microphone-muted"
        system(caller, what)
        is_heard_again(caller)
        assert caller.page.evaluate("system.opened") - before == opened, what


def test_a_permission_that_is_withdrawn_and_given_again(caller):
    caller.context.clear_permissions()
    system(caller, "system.unplug(null)")
    assert caller.help() == "microphone-denied"
    assert "allow" in caller.page.inner_text("#help-steps")
    before = caller.page.evaluate("system.opened")
    caller.page.wait_for_timeout(3000)
    assert caller.page.evaluate("system.opened") == before, "nobody is asked for a permission out of the blue"
    caller.context.grant_permissions(["microphone"])
    is_heard_again(caller)


def test_the_chosen_devices_are_taken_again_when_they_come_back(server, visitor):
    page = visitor.page
    page.add_init_script(SYSTEM)
    visitor.open(server.url)
    page.evaluate("""() => {
      const both = (deviceId, label) => ["audioinput", "audiooutput"].map((kind) => ({ kind, deviceId, label }));
      const here = both("default", "Default"), headset = both("headset", "Headset");
      MediaDevices.prototype.enumerateDevices = async () => system.headset ? [...here, ...headset] : here;
      const get = MediaDevices.prototype.getUserMedia;
      MediaDevices.prototype.getUserMedia = async function ({ audio }) {
        const exact = audio.deviceId?.exact;
        if (exact === "headset" && !system.headset) throw new DOMException("not there", "OverconstrainedError");
        const stream = await get.call(this, { audio: true });
        const settings = { deviceId: exact ?? "built-in" };
        for (const track of stream.getAudioTracks()) {
          track.getSettings = () => settings;
          Object.defineProperty(track, "label", { value: exact ? "Headset" : "Built-in" });
        }
        return stream;
      };
      AudioContext.prototype.setSinkId = async (id) => {
        if (id === "headset" && !system.headset) throw new DOMException("not there", "NotFoundError");
        system.sink = id;
      };
      system.headset = true;
    }""")
    page.click("#open-settings")
    page.wait_for_function("() => document.querySelector('#set-input').options.length > 1")
    page.select_option("#set-input", "headset")
    page.select_option("#set-output", "headset")
    page.keyboard.press("Escape")
    visitor.call()
    assert page.evaluate("system.sink") == "headset"
    changed = "navigator.mediaDevices.dispatchEvent(new Event('devicechange'))"
    system(visitor, f"system.headset = false; system.unplug(null); {changed}")
    page.wait_for_function("() => document.querySelector('#notice').textContent.includes('Built-in')")
    page.wait_for_function("() => system.sink === ''")
    system(visitor, f"system.headset = true; {changed}")
    page.wait_for_function("() => document.querySelector('#notice').textContent.includes('Headset')")
    page.wait_for_function("() => system.sink === 'headset'")
    is_heard_again(visitor)


def test_a_page_that_was_frozen_goes_on(caller):
    devtools = caller.context.new_cdp_session(caller.page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    time.sleep(4)
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    is_heard_again(caller)
    assert caller.stats()["lag"]["total"] < 1.5


def test_what_a_busy_page_could_not_send_in_time_is_left_out(caller):
    caller.page.evaluate("() => { const end = Date.now() + 4000; while (Date.now() < end); }")
    is_heard_again(caller)
    stats = caller.stats()
    assert stats["unsent"] > 2, "it is told"
    assert stats["lag"]["total"] < 1.5, "and the answer is prompt"


def test_leaving_the_page_ends_the_call_and_coming_back_says_so(start_server, visitor):
    server = start_server()
    caller = begin(visitor, server.url)
    system(caller, "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    caller.wait_for("s.state === 'idle'")
    caller.page.wait_for_timeout(500)
    assert places(server) == 0
    system(caller, "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    assert caller.help() == "left"
    caller.look("help-left")


@pytest.mark.parametrize("size", [(1000, 860), (390, 844), (320, 640)], ids=["desk", "phone", "narrow"])
def test_pauses_read_well(server, browser, visitors, size):
    width, height = size
    visitor = begin(visitors(browser, viewport={"width": width, "height": height}), server.url)
    system(visitor, "system.take('refused')")
    assert visitor.help() == "sound-paused"
    visitor.look(f"pause-sound-{width}")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    box = visitor.page.locator("#help-retry").bounding_box()
    assert box["y"] + box["height"] <= height, "the button is in sight"
    system(visitor, "system.giveBack()")
    visitor.wait_for("s.pause === null")
    system(visitor, "system.unplug('NotFoundError')")
    visitor.help()
    visitor.look(f"pause-microphone-{width}")
    visitor.page.click("#talk")
    visitor.wait_for("s.state === 'idle' && s.pause === null")
    assert visitor.page.is_hidden("#help")
