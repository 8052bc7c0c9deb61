"""A running dialogue is steered: words to say, forced tokens, vectors beside the tokens; and tokens are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rustymoshi
from golden_data import GOLDEN, Golden
from safetensors.numpy import load_file

GREEDY = {"temperature": 0.0, "text_temperature": 0.0}
BEFORE = 10
#: What the tiny tokenizer begins words with, and what it says between them.
NEW_WORD, PADDING = 0, 3


@pytest.fixture(scope="module")
def heard() -> np.ndarray:
    """The codes of a caller, `[40, 8]`."""
    return load_file(GOLDEN / "tiny-lora" / "golden.safetensors")["user_codes"].T


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """What the model says to them when nobody steers it, `[39, 9]`."""
    return load_file(GOLDEN / "tiny-lora" / "golden.safetensors")["bf16_none_out_tokens"]


def nothing(_session: rustymoshi.StreamingSession) -> None:
    pass


def said(
    moshi: Golden,
    heard: np.ndarray,
    steer: Callable[[rustymoshi.StreamingSession], None] = nothing,
    **options: Any,
) -> np.ndarray:
    """What is said to the caller in a session that is steered after ten frames."""
    session = moshi.model.session(**GREEDY, **options)
    out = []
    for step, frame in enumerate(heard):
        if step == BEFORE:
            steer(session)
        out.append(session.step_codes(frame))
    return np.stack([frame for frame in out if frame is not None])


def test_nothing_is_different_before_something_is_given(moshi: Golden, heard: np.ndarray, plain: np.ndarray) -> None:
    np.testing.assert_array_equal(said(moshi, heard), plain)
    watched = said(moshi, heard, watch=[int(plain[5, 0])])
    np.testing.assert_array_equal(watched, plain)


def test_words_are_said_next_by_this_session_alone(moshi: Golden, heard: np.ndarray, plain: np.ndarray) -> None:
    other = moshi.model.session(**GREEDY)
    beside = [other.step_codes(frame) for frame in heard[:BEFORE]]
    found = said(moshi, heard, lambda session: session.say("hello there"))
    beside += [other.step_codes(frame) for frame in heard[BEFORE:]]
    np.testing.assert_array_equal(np.stack([frame for frame in beside if frame is not None]), plain)
    np.testing.assert_array_equal(found[: BEFORE - 1], plain[: BEFORE - 1])
    text = found[BEFORE:, 0].tolist()
    # Each word begins once, its pieces follow at once, and nothing but padding is between.
    first = text.index(NEW_WORD)
    assert set(text[:first]) <= {PADDING} and text.count(NEW_WORD) >= 2
    assert not np.array_equal(found, plain)


def test_words_for_later_wait_until_the_model_is_quiet(moshi: Golden, heard: np.ndarray, plain: np.ndarray) -> None:
    # The tiny model babbles: it is never quiet for half a second.
    found = said(moshi, heard, lambda session: session.say("hello there", when="quiet"))
    np.testing.assert_array_equal(found, plain)

    def hush_then_say(session: rustymoshi.StreamingSession) -> None:
        session.force([PADDING] * 8)
        session.say("hello", when="quiet")

    text = said(moshi, heard, hush_then_say)[BEFORE:, 0].tolist()
    assert text[:9] == [*[PADDING] * 8, NEW_WORD], text


def test_forced_tokens_and_codes_are_said_as_they_are(moshi: Golden, heard: np.ndarray, plain: np.ndarray) -> None:
    codes = np.full((8, 3), -1)
    codes[0] = [11, 12, 13]
    codes[7] = [-1, 5, -1]

    def both(session: rustymoshi.StreamingSession) -> None:
        session.force([7, 8, 9], codes)

    found = said(moshi, heard, both)
    np.testing.assert_array_equal(found[: BEFORE - 1], plain[: BEFORE - 1])
    steps = slice(BEFORE, BEFORE + 3)
    assert found[steps, 0].tolist() == [7, 8, 9] and found[steps, 1].tolist() == [11, 12, 13]
    assert found[BEFORE + 1, 8] == 5

    def one_by_one(session: rustymoshi.StreamingSession) -> None:
        for step in range(3):
            session.force(np.array([7 + step]), codes[:, step : step + 1])

    np.testing.assert_array_equal(said(moshi, heard, one_by_one), found)
    text_alone = said(moshi, heard, lambda session: session.force(text_tokens=(7, -1, 9)))
    assert text_alone[BEFORE, 0] == 7 and text_alone[BEFORE + 2, 0] == 9
    codes_alone = said(moshi, heard, lambda session: session.force(codes=codes))
    assert codes_alone[steps, 1].tolist() == [11, 12, 13]


def test_added_vectors_change_what_is_said_from_their_step_on(
    moshi: Golden, heard: np.ndarray, plain: np.ndarray
) -> None:
    dim = moshi.model.info["dim"]
    zeros = said(moshi, heard, lambda session: session.add(np.zeros((4, dim), np.float32)))
    np.testing.assert_array_equal(zeros, plain)
    none = said(moshi, heard, lambda session: session.add(np.zeros((0, dim), np.float32)))
    np.testing.assert_array_equal(none, plain)
    vectors = np.random.default_rng(3).normal(size=(3, dim)).astype(np.float32) * 3
    at_once = said(moshi, heard, lambda session: session.add(vectors))

    def one_by_one(session: rustymoshi.StreamingSession) -> None:
        for vector in vectors:
            session.add(vector)

    np.testing.assert_array_equal(said(moshi, heard, one_by_one), at_once)
    np.testing.assert_array_equal(at_once[: BEFORE - 1], plain[: BEFORE - 1])
    assert not np.array_equal(at_once, plain)


def test_watched_tokens_are_told_with_their_steps(moshi: Golden, heard: np.ndarray, plain: np.ndarray) -> None:
    token = int(plain[5, 0])
    session = moshi.model.session(**GREEDY, watch=[token, 55])
    for frame in heard:
        session.step_codes(frame)
    # Frame f is complete in step f + 1.
    steps = np.flatnonzero(np.isin(plain[:, 0], [token, 55])).tolist()
    expected = [(int(plain[step, 0]), step + 1) for step in steps]
    fork = session.fork()
    assert session.take_events() == expected and expected
    assert session.take_events() == []
    assert fork.take_events() == expected
    session.reset()
    session.step(np.zeros(1_920 * 20, np.float32))
    assert all(seen in (token, 55) and step < 20 for seen, step in session.take_events())
    assert moshi.model.session(**GREEDY).take_events() == []


STEERED: dict[str, tuple[Callable[[rustymoshi.StreamingSession], Any], type[Exception], str]] = {
    "a word that cannot be spelled": (lambda s: s.say("hello \u4e2d"), ValueError, "spelled"),
    "another time": (lambda s: s.say("hello", when="later"), ValueError, 'when is "later"'),
    "no text": (lambda s: s.say(3), TypeError, "text"),
    "a token too large": (lambda s: s.force([7, 99_999]), ValueError, "99999 of stream 0; expected 0 to"),
    "a token below none": (lambda s: s.force([7, -2]), ValueError, "-2 of stream 0"),
    "a code too large": (lambda s: s.force(codes=np.full((8, 2), 64)), ValueError, "64 of stream 1; expected 0 to 63"),
    "codes of other streams": (lambda s: s.force(codes=np.zeros((7, 2), int)), ValueError, r"\[8, T\]"),
    "other numbers of each": (lambda s: s.force([1], np.zeros((8, 2), int)), ValueError, "1 text_tokens and codes"),
    "nothing": (lambda s: s.force(), ValueError, "nothing to force"),
    "no tokens": (lambda s: s.force([]), ValueError, "nothing to force"),
    "tokens that are text": (lambda s: s.force("abc"), TypeError, "text_tokens: expected a sequence of integers"),
    "tokens that are fractions": (lambda s: s.force([0.5]), TypeError, "text_tokens"),
    "another width": (lambda s: s.add(np.zeros((2, 3), np.float32)), ValueError, r"float32.*\[2, 3\]"),
    "other numbers": (lambda s: s.add(np.zeros(64, np.float64)), TypeError, "float64"),
    "no array": (lambda s: s.add([0.0]), TypeError, "list"),
    "no numbers": (lambda s: s.add(np.full((2, 128), np.nan, np.float32)), ValueError, "vector 0 to add has NaN at 0"),
    "too many": (lambda s: s.add(np.zeros((8_193, 128), np.float32)), ValueError, "8193 vectors"),
}


@pytest.mark.parametrize("which", STEERED)
def test_what_does_not_fit_is_refused_and_nothing_of_it_is_taken(
    moshi: Golden, heard: np.ndarray, plain: np.ndarray, which: str
) -> None:
    steer, kind, message = STEERED[which]

    def refused(session: rustymoshi.StreamingSession) -> None:
        with pytest.raises(kind, match=message):
            steer(session)

    np.testing.assert_array_equal(said(moshi, heard, refused), plain)


@pytest.mark.parametrize(("watch", "kind"), [([99_999], ValueError), ([-1], ValueError), ("abc", TypeError)])
def test_tokens_that_the_model_never_says_are_not_watched_for(moshi: Golden, watch: Any, kind: type) -> None:
    with pytest.raises(kind, match="watch"):
        moshi.model.session(watch=watch)


@pytest.mark.parametrize("name", ["tiny-stt", "tiny-hibiki"])
def test_a_model_that_does_not_talk_with_anybody_is_given_no_words(name: str) -> None:
    model = rustymoshi.Model.load(GOLDEN / name)
    with pytest.raises(ValueError, match="say needs a model for dialogue"):
        model.session().say("hello")
