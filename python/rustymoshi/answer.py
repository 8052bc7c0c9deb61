"""A recording that has an end, and the answer that goes on after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from rustymoshi._native import FRAME_SAMPLES, SAMPLE_RATE, StreamingSession

#: Seconds after the recording in which an answer may come to its end, unless told otherwise.
TAIL_SECONDS = 30.0
#: A day: more than any answer.
MOST_SECONDS = 86_400.0
#: An answer is over when so many seconds have brought no word and no voice.
QUIET_SECONDS = 3.0
#: A frame whose root mean square is less is without a voice (-50 dB of full scale).
VOICE = 0.003
#: Frames that a session holds back: its delays.
DELAY_FRAMES = 3


class Answer:
    """What a session says to a recording: a pair of samples and words for each frame, also after the recording's end.

    A model hears and speaks at once, so the answer to a question begins when the question is over. After the recording
    the session hears silence until it has said nothing for three seconds, at most for `tail` seconds.

    >>> import numpy as np, rustymoshi
    >>> session = rustymoshi.Model.default().session(seed=1)
    >>> question = np.zeros(24_000, dtype=np.float32)       # rustymoshi.load_audio("question.wav")
    >>> voice, words = zip(*rustymoshi.Answer(session, question))
    >>> np.concatenate(voice).dtype, "".join(words)
    (dtype('float32'), '')
    """

    def __init__(self, session: StreamingSession, heard: NDArray[np.float32], *, tail: float = TAIL_SECONDS) -> None:
        seconds = tail_seconds(tail)
        if not isinstance(heard, np.ndarray) or heard.ndim != 1:
            raise TypeError("heard: expected a 1-D float32 numpy array of mono samples at 24 kHz in [-1, 1]")
        self._session = session
        self._heard = heard
        self._most = max(math.ceil(seconds * SAMPLE_RATE / FRAME_SAMPLES), DELAY_FRAMES)
        #: Frames of the recording; how many the answer takes after its end is not known before.
        self.frames = -(-len(heard) // FRAME_SAMPLES)
        #: Whether the answer was still going on when `tail` was over; known at the end.
        self.cut = False

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], str]]:
        for start in range(0, len(self._heard), FRAME_SAMPLES):
            frame = self._heard[start : start + FRAME_SAMPLES]
            yield self._session.step(np.pad(frame, (0, FRAME_SAMPLES - len(frame))))
        silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        enough = max(math.ceil(QUIET_SECONDS * SAMPLE_RATE / FRAME_SAMPLES), DELAY_FRAMES)
        quiet = 0
        for _ in range(self._most):
            pcm, text = self._session.step(silence)
            quiet = 0 if text.strip() or is_voice(pcm) else quiet + 1
            yield pcm, text
            if quiet >= enough:
                return
        # A short tail is over before it can be told whether an answer would have come.
        self.cut = quiet < min(enough, self._most)


def tail_seconds(tail: object) -> float:
    """Any kind of number as a number of seconds; another value is an error that names it."""
    if isinstance(tail, (bool, np.bool_)) or not isinstance(tail, Real):
        raise TypeError(f"tail is {tail!r} ({type(tail).__name__}); expected a number of seconds")
    try:
        seconds = float(tail)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds <= MOST_SECONDS:
        raise ValueError(f"tail is {seconds}; expected a number of seconds from 0 to {MOST_SECONDS:.0f}")
    return seconds


def is_voice(pcm: NDArray[np.float32]) -> bool:
    """Whether samples are louder than silence."""
    return len(pcm) > 0 and float(np.sqrt(np.square(pcm).mean())) >= VOICE
