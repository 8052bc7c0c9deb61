"""A person asks the built-in model something on the page, and reads and hears the answer."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from listener import Listener, plain, voiced
from test_recording import download

QUESTION = Path(__file__).resolve().parents[1] / "fixtures" / "questions" / "sound-of-a-bee.wav"
ANSWER = "The bee says buzz."
OTHERS = ["My name is Robin.", "Many people love a cup of tea.", "A spider has eight legs."]


def microphone(path: Path) -> Path:
    """A file that is the question with two seconds of silence before it and ten after, for a microphone to repeat."""
    with wave.open(str(QUESTION)) as asked, wave.open(str(path), "wb") as file:
        file.setparams(asked.getparams())
        second = bytes(2 * asked.getframerate())
        file.writeframes(2 * second + asked.readframes(asked.getnframes()) + 10 * second)
    return path


def test_a_question_spoken_to_the_page_is_answered(start_server, browser_hearing, visitors, tmp_path):
    server = start_server("--model", "built-in")
    visitor = visitors(browser_hearing(microphone(tmp_path / "question.wav")), viewport={"width": 1000, "height": 860})
    page = visitor.open(server.url, "{sampling: {text_seed: 1, audio_seed: 1}}")
    visitor.call()
    page.wait_for_function("() => document.querySelector('#words').textContent.includes('buzz')")
    visitor.wait_for("s.played > 9")
    assert plain(ANSWER) in plain(page.inner_text("#words"))
    visitor.screenshot("conversation")
    page.click("#talk")
    samples, rate = download(page)
    assert np.std(samples[:, 0]) > 0.003, "the question is in the recording too"
    assert Listener([ANSWER, *OTHERS]).hear(voiced(samples[:, 1], rate), rate) == plain(ANSWER)
    assert visitor.complaints == []
