"""What a caller sees in the server's waiting line, and at a server that wants a key.

The messages of the line are those of docs/protocol.md, put before a real call.
"""

from __future__ import annotations

import json

METADATA = b"\x04"


def test_a_caller_in_line_sees_its_place_and_the_call_begins_by_itself(server, visitor):
    routes = []
    visitor.page.route_web_socket("**/api/chat", lambda route: routes.append(route))
    page = visitor.open(server.url)
    page.click("#talk")
    visitor.wait_for("s.state === 'connecting'")
    for position in (3, 1):
        routes[0].send(METADATA + json.dumps({"waiting": {"position": position, "length": 4}}).encode())
        page.wait_for_function(f"() => document.querySelector('#place').textContent === '{position}'")
        assert page.is_visible("#line")
    assert "next" in page.inner_text("#status")
    visitor.look("line")
    routes[0].connect_to_server()
    visitor.wait_for("s.state === 'live'")
    assert page.is_hidden("#line")


def test_a_server_that_wants_a_key_is_given_the_one_from_the_settings(server, visitor):
    page = visitor.open(server.url)
    # A socket that is refused before it opens, and what it offered.
    page.evaluate("""() => { window.WebSocket = class extends WebSocket {
        constructor(url, names) { super(new URL("/no-such-call", url)); window.offered = names; } }; }""")
    page.route("**/status", lambda route: route.fulfill(status=401, json={"error": "unauthorized"}))
    page.click("#talk")
    assert visitor.help() == "key"
    visitor.look("help-key")
    page.click("#open-settings")
    page.fill("#set-key", "a-key-of-some-length")
    page.keyboard.press("Escape")
    page.click("#help-retry")
    page.wait_for_function("() => window.offered?.length === 2")
    assert page.evaluate("window.offered") == ["rustymoshi", "rustymoshi-key.a-key-of-some-length"]
    assert "a-key" not in page.evaluate("JSON.stringify(localStorage)"), "a secret is kept no longer than the tab"
