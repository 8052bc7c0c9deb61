"""The recording that the page makes of a call."""

from __future__ import annotations

import wave

import numpy as np
import pytest


def download(page) -> tuple[np.ndarray, int]:
    """The recording, `[samples, 2]` between -1 and 1, and its rate."""
    with page.expect_download() as started:
        page.click("#recording-save")
    assert started.value.suggested_filename.endswith(".wav")
    with wave.open(str(started.value.path())) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return samples.reshape(-1, 2) / 32_768, file.getframerate()


def lag(you: np.ndarray, agent: np.ndarray, rate: int) -> float:
    """Seconds by which one voice follows the other, where their product is largest."""
    size = 1 << int(np.ceil(np.log2(2 * len(you))))
    product = np.fft.irfft(np.fft.rfft(agent, size) * np.conj(np.fft.rfft(you, size)))
    return float(np.argmax(product[: 2 * rate]) / rate)


def test_both_voices_are_recorded_side_by_side_with_the_lag_that_was_heard(server, visitor):
    page = visitor.open(server.url)
    visitor.call()
    visitor.wait_for("s.played > 5 && s.recorded > 5")
    assert page.is_visible("#recorded"), "the page says that it records"
    stats = visitor.stats()
    page.click("#talk")
    page.wait_for_selector("#recording:not([hidden])")
    samples, rate = download(page)
    assert len(samples) / rate == pytest.approx(stats["seconds"], abs=1), "as long as the call"
    you, agent = samples.T
    assert np.std(you) > 0.01 and np.std(agent) > 0.01
    # What left the microphone and what the loopback gave back. The rest of the lag is in the sound device.
    expected = stats["lag"]["way"] + stats["lag"]["waiting"]
    assert lag(you, agent, rate) == pytest.approx(expected, abs=0.12)
    assert visitor.complaints == []


def test_the_recording_can_be_heard_in_the_page_and_thrown_away(server, visitor):
    page = visitor.open(server.url)
    visitor.call()
    visitor.wait_for("s.recorded > 2")
    page.click("#talk")
    page.wait_for_function("() => document.querySelector('#recording-player').duration > 1.5")
    page.evaluate("document.querySelector('#recording-player').play()")
    page.wait_for_function("() => document.querySelector('#recording-player').currentTime > 0.2")
    page.click("#recording-discard")
    assert page.is_hidden("#recording")
    assert page.evaluate("document.activeElement.id") == "talk"
    assert visitor.complaints == []


def test_a_muted_microphone_is_silent_in_the_recording_too(server, visitor):
    page = visitor.open(server.url)
    visitor.call()
    page.click("#mute")
    before = visitor.stats()["recorded"]
    visitor.wait_for(f"s.recorded > {before + 3}")
    page.click("#talk")
    samples, rate = download(page)
    assert np.abs(samples[-2 * rate :, 0]).max() == 0


def test_nothing_is_recorded_where_that_is_switched_off(server, visitor):
    page = visitor.open(server.url, "{record: false}")
    visitor.call()
    visitor.wait_for("s.played > 1")
    assert page.is_hidden("#recorded")
    page.click("#talk")
    visitor.wait_for("s.state === 'idle'")
    assert page.is_hidden("#recording")
