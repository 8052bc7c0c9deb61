"""What the page says when something is missing or goes wrong, and that it finds its way back."""

from __future__ import annotations

import signal


def test_a_denied_microphone_is_explained_and_can_be_tried_again(server, browser, visitors):
    visitor = visitors(browser, microphone=False)
    page = visitor.open(server.url)
    page.click("#talk")
    assert visitor.help() == "no-permission"
    assert "allow" in page.inner_text("#help-steps")
    assert page.evaluate("document.activeElement.id") == "help-title", "the help is read out"
    visitor.look("help-no-permission")
    visitor.context.grant_permissions(["microphone"])
    page.click("#help-retry")
    visitor.wait_for("s.state === 'live'")
    assert page.is_hidden("#help")


def test_a_machine_without_a_microphone_is_told_so(server, deaf_browser, visitors):
    visitor = visitors(deaf_browser)
    visitor.open(server.url).click("#talk")
    assert visitor.help() == "no-microphone"
    visitor.look("help-no-microphone")
    assert visitor.stats()["state"] == "idle"


def test_a_page_over_plain_http_says_why_it_cannot_listen(server, browser, visitors):
    visitor = visitors(browser, microphone=False)
    page = visitor.open(f"http://plain.test:{server.port}/")
    assert visitor.help() == "insecure"
    assert "https" in page.inner_text("#help-steps")
    assert page.is_hidden("#help-retry")
    visitor.look("help-insecure")


def test_a_full_house_is_told_apart_from_a_broken_one(start_server, browser, visitors):
    server = start_server("--max-sessions", "1")
    first, second = visitors(browser), visitors(browser)
    first.open(server.url)
    first.call()
    page = second.open(server.url)
    page.click("#talk")
    assert second.help() == "full"
    assert "1 of 1" in page.inner_text("#help-detail")
    second.look("help-full")
    first.page.click("#talk")
    first.wait_for("s.state === 'idle'")
    page.wait_for_timeout(500)
    page.click("#help-retry")
    second.wait_for("s.state === 'live'")


def test_a_server_that_is_not_there_is_named(start_server, browser, visitors):
    server = start_server()
    visitor = visitors(browser)
    visitor.open(server.url)
    server.stop()
    visitor.page.click("#talk")
    assert visitor.help() == "unreachable"
    visitor.look("help-unreachable")
    assert visitor.stats()["state"] == "idle"


def test_a_server_that_crashes_is_called_again_until_it_is_back(start_server, browser, visitors):
    server = start_server()
    visitor = visitors(browser)
    page = visitor.open(server.url)
    visitor.call()
    visitor.wait_for("s.played > 1")
    server.stop(signal.SIGKILL)
    assert visitor.help() in ("lost", "unreachable")
    visitor.wait_for("s.state === 'waiting'")
    assert page.inner_text("#help-retry") == "Reconnect now"
    visitor.look("help-lost")
    server.start()
    visitor.wait_for("s.state === 'live' && s.reconnects > 0 && s.playedEnergy > 0.001", timeout=30)
    assert page.is_hidden("#help")


def test_a_server_that_shuts_down_says_goodbye_and_waiting_can_be_stopped(start_server, browser, visitors):
    server = start_server()
    visitor = visitors(browser)
    page = visitor.open(server.url)
    visitor.call()
    visitor.wait_for("s.played > 0.5")
    server.stop()
    visitor.wait_for("s.state === 'waiting' || s.state === 'connecting'")
    visitor.help()
    page.click("#help-stop")
    visitor.wait_for("s.state === 'idle'")
    assert page.is_hidden("#help")
    assert page.inner_text("#talk-label") == "Start talking"


def test_reconnecting_now_does_not_wait_for_the_clock(start_server, browser, visitors):
    server = start_server()
    visitor = visitors(browser)
    visitor.open(server.url)
    visitor.call()
    server.stop(signal.SIGKILL)
    # Late enough for waits of many seconds.
    visitor.page.wait_for_timeout(4500)
    visitor.wait_for("s.state === 'waiting'")
    server.start()
    visitor.page.click("#help-retry")
    visitor.wait_for("s.state === 'live'", timeout=5)
