"""The built-in model is asked aloud, in voices that it was not trained on, and is understood when it answers."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from listener import Listener, plain, voiced

SPEECH = Path(__file__).resolve().parents[1] / "fixtures" / "questions"
RATE, FRAME = 24_000, 1_920
# Each in another voice or setting that was held out of the training: flite's awb, espeak-ng's en-us+m7, hibari with its
# pitch and formants moved further down or up than any user's.
ANSWERS = {
    "what-is-your-name": "My name is Robin.",
    "legs-of-a-spider": "A spider has eight legs.",
    "sound-of-a-bee": "The bee says buzz.",
    "tea-or-coffee": "Many people love a cup of tea.",
    "blue-and-yellow": "Blue and yellow make green.",
}


def question(name: str, before: float = 1.0, after: float = 5.0) -> np.ndarray:
    """A question with seconds of silence around it, in whole frames at 24 kHz."""
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        assert file.getframerate() == RATE
        said = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 32_768
    said = np.pad(said, (int(before * RATE), int(after * RATE)))
    return said[: len(said) // FRAME * FRAME]


@pytest.fixture(scope="module")
def model() -> rustymoshi.Model:
    return rustymoshi.Model.default()


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(ANSWERS.values())


def ask(session: rustymoshi.StreamingSession, pcm: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What comes back, frame by frame."""
    steps = [session.step(frame) for frame in pcm.reshape(-1, FRAME)]
    return np.concatenate([pcm for pcm, _ in steps]), [text for _, text in steps]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_spoken_question_is_answered_in_words_and_voice(model, listener, name):
    sound, pieces = ask(model.session(seed=2), question(name))
    assert plain("".join(pieces)) == plain(ANSWERS[name])
    assert listener.hear(voiced(sound, RATE), RATE) == plain(ANSWERS[name])


def test_the_answer_begins_soon_after_the_question(model):
    pcm = question("what-is-your-name")
    _, pieces = ask(model.session(seed=2), pcm)
    first = next(i for i, piece in enumerate(pieces) if piece.strip())
    ended = (len(pcm) / RATE - 5.0) * 12.5
    assert 0 < (first - ended) / 12.5 < 1.2


def test_it_says_nothing_to_silence(model):
    sound, pieces = ask(model.session(seed=2), np.zeros(10 * RATE // FRAME * FRAME, np.float32))
    assert "".join(pieces).strip() == ""
    assert not len(voiced(sound, RATE))


def test_one_question_after_another_in_one_session(model, listener):
    session = model.session(seed=2)
    for name, answer in ANSWERS.items():
        sound, pieces = ask(session, question(name, 0.5, 4.5))
        assert plain("".join(pieces)) == plain(answer)
        assert listener.hear(voiced(sound, RATE), RATE) == plain(answer)


def test_it_needs_no_notice(model):
    assert model.notice is None
