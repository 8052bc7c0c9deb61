"""The page for eyes, keyboards and screen readers; the pictures are kept in artifacts/browser."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1000, "height": 860}


def violations(page) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA and its own best practices."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": tags}).response["violations"]
    return [f"{rule['id']}: {node['html']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_rule_of_accessibility_is_broken_in_any_state(server, browser, visitors, theme, size):
    name = f"{theme}-{'phone' if size is PHONE else 'desk'}"
    visitor = visitors(browser, viewport=size, color_scheme=theme)
    page = visitor.open(server.url)
    page.wait_for_timeout(300)
    visitor.screenshot(f"idle-{name}")
    found = {"idle": violations(page)}
    visitor.call()
    page.wait_for_function("() => document.querySelector('#words').textContent.includes('dot')")
    visitor.wait_for("s.played > 4")
    page.click("summary")
    page.wait_for_timeout(300)
    visitor.screenshot(f"call-{name}")
    found["call"] = violations(page)
    page.click("#open-settings")
    page.wait_for_timeout(300)
    visitor.screenshot(f"settings-{name}")
    found["settings"] = violations(page)
    page.keyboard.press("Escape")
    page.click("#talk")
    assert found == {"idle": [], "call": [], "settings": []}


def test_help_breaks_no_rule_either(server, browser, visitors):
    visitor = visitors(browser, microphone=False)
    page = visitor.open(server.url)
    page.click("#talk")
    visitor.help()
    assert violations(page) == []
    assert page.evaluate("document.activeElement.id") == "help-title", "the help is read out"


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
