"""Errors in the page or the browser itself: the call ends with words, and its place is free at once."""

from __future__ import annotations

import json
import urllib.request

import pytest


def places(server) -> int:
    with urllib.request.urlopen(f"{server.url}status", timeout=5) as answer:
        return json.load(answer)["sessions"]


NO_WEB_CODECS = "delete window.AudioEncoder; delete window.AudioDecoder"
THROWING = "throw new Error('out of order')"

#: What goes wrong, and the help that a person sees. Each is put on when the call begins.
FAULTS = {
    "no encoder, no decoder": (NO_WEB_CODECS, "no-opus"),
    "no encoder": ("delete window.AudioEncoder", "no-opus"),
    "Opus is not among the codecs": ("AudioEncoder.isConfigSupported = async () => ({supported: false})", "no-opus"),
    "asking about codecs fails": (f"AudioDecoder.isConfigSupported = async () => {{ {THROWING} }}", "no-opus"),
    "the encoder cannot be made": (f"window.AudioEncoder = class {{ static isConfigSupported = async () => ({{supported: true}});"
                                   f" constructor() {{ {THROWING} }} }}", "codec"),
    "the encoder takes no configuration": (f"AudioEncoder.prototype.configure = () => {{ {THROWING} }}", "codec"),
    "the encoder takes no audio": (f"AudioEncoder.prototype.encode = () => {{ {THROWING} }}", "codec"),
    "the encoder's packets cannot be read": (f"EncodedAudioChunk.prototype.copyTo = () => {{ {THROWING} }}", "codec"),
    "the decoder takes no configuration": (f"AudioDecoder.prototype.configure = () => {{ {THROWING} }}", "codec"),
    "the decoder decodes nothing": ("const { configure } = AudioDecoder.prototype;"
                                    " AudioDecoder.prototype.configure = function () { configure.call(this, {codec: 'opus',"
                                    " sampleRate: 48000, numberOfChannels: 1, description: new Uint8Array(3)}); }", "codec"),
    "the decoder takes no packets": (f"AudioDecoder.prototype.decode = () => {{ {THROWING} }}", "unexpected"),
    "messages cannot be read": (f"TextDecoder.prototype.decode = () => {{ {THROWING} }}", "unexpected"),
    "sending fails": (f"WebSocket.prototype.send = () => {{ {THROWING} }}", "unexpected"),
    "a word cannot be shown": (f"Object.defineProperty(document.querySelector('#words'), 'append', {{value() {{ {THROWING} }}}})", "unexpected"),
    "a state cannot be shown": (f"Object.defineProperty(document.querySelector('#clock'), 'hidden', {{set() {{ {THROWING} }}}})", "unexpected"),
    "no audio context": (f"window.AudioContext = class {{ constructor() {{ {THROWING} }} }}", "unexpected"),
    "the worklets cannot be loaded": (f"AudioWorklet.prototype.addModule = async () => {{ {THROWING} }}", "unexpected"),
    "the worklets cannot be started": (f"window.AudioWorkletNode = class {{ constructor() {{ {THROWING} }} }}", "unexpected"),
    "no socket": (f"window.WebSocket = class {{ constructor() {{ throw new DOMException('forbidden', 'SecurityError') }} }}", "unexpected"),
}


@pytest.fixture(scope="module")
def alone(backend):
    """A server where nobody else calls."""
    from conftest import Server

    running = Server(backend)
    yield running
    running.stop()


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_ends_the_call_with_words_and_frees_its_place(alone, visitor, fault):
    script, name = FAULTS[fault]
    page = visitor.open(alone.url, "{format: 'opus'}")
    page.evaluate(f"() => {{ {script} }}")
    page.click("#talk")
    assert visitor.help() == name
    assert visitor.stats()["state"] == "idle"
    assert page.inner_text("#talk-label") == "Start talking" and page.is_enabled("#talk")
    for _ in range(20):
        if places(alone) == 0:
            break
        page.wait_for_timeout(50)
    assert places(alone) == 0, "the place is free at once"
    if name == "no-opus" and "no decoder" in fault:
        visitor.look("help-no-opus")


def test_after_a_fault_the_next_call_is_as_good_as_any(alone, visitor):
    page = visitor.open(alone.url)
    page.evaluate("() => { const { encode } = AudioEncoder.prototype; AudioEncoder.prototype.encode = function () {"
                  " AudioEncoder.prototype.encode = encode; throw new Error('once'); } }")  # fmt: skip
    page.click("#talk")
    assert visitor.help() == "codec"
    page.click("#help-retry")
    visitor.wait_for("s.state === 'live' && s.played > 1")
    assert page.is_hidden("#help")


def test_a_recording_that_cannot_be_kept_does_not_cost_the_call(alone, visitor):
    page = visitor.open(alone.url)
    page.evaluate("() => { const add = Array.prototype.push; Array.prototype.push = function (...given) {"
                  " if (given[0] instanceof Int16Array) throw new RangeError('no memory'); return add.apply(this, given); } }")  # fmt: skip
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
    metadata = {"lm_model_file": "loopback", "notices": [{"kind": "audio_lost", "text": "2.5 s of your voice were not heard"}, {"kind": "x"}, 3]}
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
