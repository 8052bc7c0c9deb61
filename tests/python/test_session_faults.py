"""One session's fault is its own: it raises until it is reset, and the others hear what they would hear without it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import Golden

FRAME = 1_920
# The first codebook of what is heard.
STREAM = 9


@pytest.fixture
def damaged(moshi: Golden, speech: np.ndarray, tmp_path: Path) -> tuple[rustymoshi.Model, int]:
    """The model with no numbers in the embedding of one code, which the speech does not have."""
    code = next(code for code in range(64) if code not in moshi.mimi.encode(speech)[0])
    folder = tmp_path / "damaged"
    shutil.copytree(moshi.folder, folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(bytes(data[8 : 8 + length]))[f"emb.{STREAM - 1}.weight"]
    assert entry["dtype"] == "BF16"
    begin, width = 8 + length + entry["data_offsets"][0], 2 * entry["shape"][1]
    data[begin + code * width : begin + (code + 1) * width] = b"\xc0\x7f" * (width // 2)
    path.write_bytes(data)
    return rustymoshi.Model.load(folder, exact=True), code


def hear_damage(session: rustymoshi.StreamingSession, code: int) -> None:
    """The first frame heard is never read; afterwards the code is read one step later."""
    loud = np.full(8, code, dtype=np.int32)
    for _ in range(3):
        session.step_codes(loud)


def test_a_session_that_fails_raises_until_it_is_reset(
    damaged: tuple[rustymoshi.Model, int], speech: np.ndarray
) -> None:
    model, code = damaged
    session, fresh = model.session(seed=3), model.session(seed=3)
    session.step(speech[: 5 * FRAME])
    with pytest.raises(rustymoshi.RustymoshiError, match="cannot think"):
        hear_damage(session, code)
    for again in (
        lambda: session.step(speech[:FRAME]),
        lambda: session.step(speech[:7]),
        lambda: session.step_codes(np.zeros(8, dtype=np.int32)),
        session.fork,
    ):
        with pytest.raises(rustymoshi.RustymoshiError, match="reset it"):
            again()
    session.reset()
    (pcm, text), (expected, words) = session.step(speech), fresh.step(speech)
    np.testing.assert_array_equal(pcm, expected)
    assert text == words


def test_the_others_go_on(damaged: tuple[rustymoshi.Model, int], speech: np.ndarray) -> None:
    model, code = damaged
    alone = model.session(seed=5).step(speech)
    sessions = [model.session(seed=5) for _ in range(3)]
    heard: list[tuple[np.ndarray, str] | None] = [None] * 3

    def talk(i: int) -> None:
        if i == 1:
            with pytest.raises(rustymoshi.RustymoshiError):
                hear_damage(sessions[i], code)
        else:
            heard[i] = sessions[i].step(speech)

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    for result in (heard[0], heard[2]):
        assert result is not None
        np.testing.assert_array_equal(result[0], alone[0])
        assert result[1] == alone[1]


def test_a_damaged_embedding_ends_the_session_that_hears_its_code(
    damaged: tuple[rustymoshi.Model, int], moshi: Golden
) -> None:
    model, code = damaged
    bad, good, sound = model.session(), model.session(), moshi.model.session()
    quiet = np.full(8, (code + 1) % 64, dtype=np.int32)
    with pytest.raises(rustymoshi.RustymoshiError, match="cannot think"):
        hear_damage(bad, code)
    with pytest.raises(rustymoshi.RustymoshiError, match="reset it"):
        bad.step_codes(quiet)
    for _ in range(10):
        frame, expected = good.step_codes(quiet), sound.step_codes(quiet)
        assert (frame is None) == (expected is None)
        if frame is not None and expected is not None:
            np.testing.assert_array_equal(frame, expected)
    bad.reset()
    assert bad.step_codes(-np.ones(8, dtype=np.int32)) is None, "nothing is heard"
    bad.step_codes(quiet)


def test_samples_far_out_of_range_are_refused_before_anything_hears_them(moshi: Golden, speech: np.ndarray) -> None:
    far = np.full(FRAME, 3e38, dtype=np.float32)
    stream, fresh = moshi.mimi.stream(), moshi.mimi.stream()
    session = moshi.model.session()
    for hear in (stream.encode_step, moshi.mimi.encode, session.step):
        with pytest.raises(ValueError, match="sample 0"):
            hear(far)
    np.testing.assert_array_equal(stream.encode_step(speech[:FRAME]), fresh.encode_step(speech[:FRAME]))
