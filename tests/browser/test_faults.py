"""Errors in the page or the browser itself: the call ends with words, and its place is free at once."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest


def all_places_are_free(server) -> None:
    for _ in range(20):
        with urllib.request.urlopen(f"{server.url}status", timeout=5) as answer:
            if json.load(answer)["sessions"] == 0:
                return
        time.sleep(0.1)
    pytest.fail("a place is still taken", pytrace=False)


#: What goes wrong, and the help that a person sees. `broken` throws.
FAULTS = {
    "no encoder, no decoder": ("delete window.AudioEncoder; delete window.AudioDecoder", "no-opus"),
    "no encoder": ("delete window.AudioEncoder", "no-opus"),
    "Opus is not among the codecs": ("AudioEncoder.isConfigSupported = async () => ({supported: false})", "no-opus"),
    "asking about codecs fails": ("AudioDecoder.isConfigSupported = async () => broken()", "no-opus"),
    "the encoder cannot be made": ("window.AudioEncoder = made(AudioEncoder)", "codec"),
    "the encoder takes no configuration": ("AudioEncoder.prototype.configure = broken", "codec"),
    "the encoder takes no audio": ("AudioEncoder.prototype.encode = broken", "codec"),
    "the encoder's packets cannot be read": ("EncodedAudioChunk.prototype.copyTo = broken", "codec"),
    "the decoder cannot be made": ("window.AudioDecoder = made(AudioDecoder)", "codec"),
    "the decoder takes no configuration": ("AudioDecoder.prototype.configure = broken", "codec"),
    "the decoder decodes nothing": ("const { configure } = AudioDecoder.prototype, description = new Uint8Array(3);"
                                    " AudioDecoder.prototype.configure = function (as) {"
                                    " configure.call(this, {...as, description}); }", "codec"),
    "the decoder takes no packets": ("AudioDecoder.prototype.decode = broken", "unexpected"),
    "messages cannot be read": ("TextDecoder.prototype.decode = broken", "unexpected"),
    "sending fails": ("WebSocket.prototype.send = broken", "unexpected"),
    "a word cannot be shown": ("document.querySelector('#words').append = broken", "unexpected"),
    "a state cannot be shown": ("Object.defineProperty(document.querySelector('#clock'), 'hidden', {set: broken})",
                                "unexpected"),
    "no audio context": ("window.AudioContext = made(AudioContext)", "unexpected"),
    "the worklets cannot be loaded": ("AudioWorklet.prototype.addModule = async () => broken()", "unexpected"),
    "the worklets cannot be started": ("window.AudioWorkletNode = made(AudioWorkletNode)", "unexpected"),
    "no socket": ("window.WebSocket = made(WebSocket)", "unexpected"),
}  # fmt: skip
BROKEN = """
const broken = () => { throw new Error("out of order"); };
const made = (Class) => class extends Class { constructor(...given) { broken(); super(...given); } };
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_ends_the_call_with_words_and_frees_its_place(server, visitor, fault):
    script, name = FAULTS[fault]
    page = visitor.open(server.url, "{format: 'opus'}")
    page.evaluate(f"() => {{ {BROKEN} {script} }}")
    page.click("#talk")
    assert visitor.help() == name
    assert visitor.stats()["state"] == "idle"
    assert page.inner_text("#talk-label") == "Start talking" and page.is_enabled("#talk")
    all_places_are_free(server)
    if name == "no-opus" and "no decoder" in fault:
        visitor.look("help-no-opus")


def test_after_a_fault_the_next_call_is_as_good_as_any(server, visitor):
    page = visitor.open(server.url)
    page.evaluate("""() => {
      const { encode } = AudioEncoder.prototype;
      AudioEncoder.prototype.encode = () => {
        AudioEncoder.prototype.encode = encode;
        throw new Error("once");
      };
    }""")
    page.click("#talk")
    assert visitor.help() == "codec"
    page.click("#help-retry")
    visitor.wait_for("s.state === 'live' && s.played > 1")
    assert page.is_hidden("#help")


def test_a_recording_that_cannot_be_kept_does_not_cost_the_call(server, visitor):
    page = visitor.open(server.url)
    page.evaluate("""() => {
      const { push } = Array.prototype;
      Array.prototype.push = function (...given) {
        if (given[0] instanceof Int16Array) throw new RangeError("no memory");
        return push.apply(this, given);
      };
    }""")
    visitor.call()
    visitor.wait_for("s.played > 1")
    assert "recording" in page.inner_text("#notice")
    page.click("#talk")
    visitor.wait_for("s.state === 'idle'")
    assert page.is_hidden("#recording")


def test_a_server_that_vanishes_while_one_waits_in_its_line_is_told(start_server, browser, visitors):
    server = start_server("--max-sessions", "1", "--queue", "2")
    first, second = visitors(browser), visitors(browser)
    first.open(server.url)
    first.call()
    second.open(server.url).click("#talk")
    second.wait_for("s.state === 'queued'")
    server.process.kill()
    server.process.wait()
    assert second.help() == "unreachable"
    assert second.stats()["state"] == "idle"


def test_what_the_server_wants_known_is_shown_once_and_calmly(server, visitor):
    lost = {"kind": "audio_lost", "text": "2.5 s of your voice were not heard"}
    metadata = {"lm_model_file": "loopback", "notices": [lost, {"kind": "of another time"}, 3]}
    routes = []

    def forward(route):
        routes.append(route)
        route.connect_to_server()

    visitor.page.route_web_socket("**/api/chat", forward)
    page = visitor.open(server.url)
    name = page.inner_text("#model")
    visitor.call()
    routes[0].send(b"\x04" + json.dumps(metadata).encode())
    page.wait_for_function("() => document.querySelector('#notice').textContent.includes('2.5 s')")
    assert page.is_hidden("#help")
    visitor.look("notice-audio-lost")
    page.evaluate("document.querySelector('#notice').textContent = 'seen'")
    routes[0].send(b"\x04" + json.dumps(metadata).encode())
    routes[0].send(b"\x04" + json.dumps({"notices": []}).encode())
    page.wait_for_timeout(300)
    assert page.text_content("#notice") == "seen"
    assert page.inner_text("#model") == name
    assert visitor.stats()["state"] == "live"
