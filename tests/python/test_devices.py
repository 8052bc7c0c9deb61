"""Frames between the sound card and the model: few wait, and what is dropped is counted and told."""

from __future__ import annotations

import rustymoshi
from rustymoshi.devices import MAX_WAITING, Line, Lost


def test_frames_that_come_too_late_are_dropped_and_counted() -> None:
    line = Line()
    frames = [bytes([n]) * 4 * rustymoshi.FRAME_SAMPLES for n in range(10)]
    for frame in frames:
        line.put(frame)
    assert (line.frames, line.dropped) == (10, 10 - MAX_WAITING)
    assert [line.next() for _ in range(MAX_WAITING + 1)] == [*frames[-MAX_WAITING:], None]


def test_what_was_lost_is_told() -> None:
    assert str(Lost(0, 0, 100)) == ""
    said = str(Lost(heard=25, said=5, frames=1_000))
    assert "2.0 s of what you said" in said and "0.4 s of the answer" in said and "80 s" in said
    assert "the answer" not in str(Lost(heard=25, said=0, frames=100))
