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
# Finite, so nothing refuses it at the door, and far beyond what sums in single precision can hold.
FAR = np.full(2 * FRAME, 3e38, dtype=np.float32)


def test_a_session_that_fails_raises_until_it_is_reset(moshi: Golden, speech: np.ndarray) -> None:
    session, fresh = moshi.model.session(seed=3), moshi.model.session(seed=3)
    session.step(speech[: 5 * FRAME])
    with pytest.raises(rustymoshi.RustymoshiError, match="cannot hear"):
        session.step(FAR)
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


def test_the_others_go_on(moshi: Golden, speech: np.ndarray) -> None:
    alone = moshi.model.session(seed=5).step(speech)
    sessions = [moshi.model.session(seed=5) for _ in range(3)]
    heard: list[tuple[np.ndarray, str] | None] = [None] * 3

    def talk(i: int) -> None:
        if i == 1:
            with pytest.raises(rustymoshi.RustymoshiError):
                sessions[i].step(FAR)
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


def test_a_damaged_embedding_ends_the_session_that_hears_its_code(moshi: Golden, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(moshi.folder, folder)
    path, code, stream = folder / "model.safetensors", 17, 9
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    entry = header[f"emb.{stream - 1}.weight"]
    assert entry["dtype"] == "BF16"
    begin, width = 8 + length + entry["data_offsets"][0], 2 * entry["shape"][1]
    data[begin + code * width : begin + (code + 1) * width] = b"\xc0\x7f" * (width // 2)
    path.write_bytes(data)
    model = rustymoshi.Model.load(folder, exact=True)
    bad, good, sound = model.session(), model.session(), moshi.model.session()
    quiet, loud = np.zeros(8, dtype=np.int32), np.full(8, code, dtype=np.int32)
    bad.step_codes(loud)  # the first frame heard is never read
    with pytest.raises(rustymoshi.RustymoshiError, match="cannot think"):
        bad.step_codes(loud)
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


def test_a_stream_of_the_codec_raises_until_it_is_reset(moshi: Golden, speech: np.ndarray) -> None:
    stream, fresh = moshi.mimi.stream(), moshi.mimi.stream()
    for pcm in (FAR[:FRAME], speech[:FRAME]):
        with pytest.raises(rustymoshi.RustymoshiError, match="reset"):
            stream.encode_step(pcm)
    stream.reset()
    np.testing.assert_array_equal(stream.encode_step(speech[:FRAME]), fresh.encode_step(speech[:FRAME]))
    with pytest.raises((ValueError, rustymoshi.RustymoshiError), match="not finite"):
        moshi.mimi.encode(FAR)
