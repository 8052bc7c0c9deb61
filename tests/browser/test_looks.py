"""The page for eyes, keyboards and screen readers; the pictures are kept in artifacts/browser."""

from __future__ import annotations

import pytest

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1000, "height": 860}


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_rule_of_accessibility_is_broken_in_any_state(server, browser, visitors, size):
    name = "phone" if size is PHONE else "desk"
    visitor = visitors(browser, viewport=size)
    page = visitor.open(server.url)
    visitor.look(f"idle-{name}")
    visitor.call()
    page.wait_for_function("() => document.querySelector('#words').textContent.includes('dot')")
    visitor.wait_for("s.played > 4")
    visitor.look(f"call-{name}")
    page.click("#mute")
    page.click("summary")
    visitor.look(f"muted-{name}")
    page.click("#open-settings")
    visitor.look(f"settings-{name}")
    page.keyboard.press("Escape")
    page.click("#talk")
    page.wait_for_selector("#recording:not([hidden])")
    page.evaluate("scrollTo(0, 0)")
    visitor.look(f"after-{name}")


def test_a_narrow_phone_needs_no_sideways_scrolling(server, browser, visitors):
    visitor = visitors(browser, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    page = visitor.open(server.url)
    visitor.call()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for button in ("#talk", "#mute", "#open-settings"):
        box = page.locator(button).bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44, f"{button} is too small for a thumb"


def test_the_keyboard_alone_is_enough(server, visitor):
    page = visitor.open(server.url)
    order = []
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert order == ["skip", "open-settings", "talk"]
    page.keyboard.press("Enter")
    visitor.wait_for("s.state === 'live'")
    page.keyboard.press("Space")
    visitor.wait_for("s.state === 'idle'")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.is_visible("#settings")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "open-settings"


def test_choices_are_kept_over_a_reload(server, visitor):
    page = visitor.open(server.url)
    page.click("#open-settings")
    page.select_option("#set-theme", "dark")
    page.uncheck("#set-noiseSuppression")
    page.check("#set-announce")
    page.reload()
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.get_attribute("#words", "aria-live") == "polite"
    page.click("#open-settings")
    assert not page.is_checked("#set-noiseSuppression")
    page.click("#set-reset")
    assert page.is_checked("#set-noiseSuppression")
    assert page.get_attribute("html", "data-theme") is None


def test_less_motion_draws_still_levels(server, browser, visitors):
    visitor = visitors(browser, viewport=DESK, reduced_motion="reduce")
    visitor.open(server.url)
    visitor.call()
    visitor.wait_for("s.played > 1")
    visitor.screenshot("call-less-motion")
    assert visitor.complaints == []
