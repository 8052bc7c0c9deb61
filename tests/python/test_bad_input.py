"""Whatever comes in, the answer says what was found, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import Golden


@pytest.mark.parametrize(
    ("pcm", "message"),
    [
        (np.zeros(1_920, dtype=np.int16), "int16"),
        (np.zeros(1_920, dtype=np.float64), "float64"),
        (np.zeros((2, 960), dtype=np.float32), r"\[2, 960\]"),
        ([0.0] * 1_920, "list"),
        (None, "NoneType"),
        ("speech.wav", "str"),
    ],
)
def test_samples_of_the_wrong_kind(moshi: Golden, pcm: object, message: str) -> None:
    for step in (moshi.model.session().step, moshi.mimi.encode, moshi.mimi.stream().encode_step):
        with pytest.raises(TypeError, match=message) as raised:
            step(pcm)  # type: ignore[arg-type]
        assert "expected a 1-D float32" in str(raised.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(moshi: Golden, bad: float) -> None:
    pcm = np.zeros(1_920, dtype=np.float32)
    pcm[77] = bad
    session = moshi.model.session()
    with pytest.raises(ValueError, match="sample 77"):
        session.step(pcm)
    session.step(np.zeros(1_920, dtype=np.float32))


def test_no_samples_are_no_frames(moshi: Golden) -> None:
    empty = np.zeros(0, dtype=np.float32)
    pcm, text = moshi.model.session().step(empty)
    assert (len(pcm), text) == (0, "")
    assert moshi.mimi.encode(empty).shape == (8, 0)


def test_a_strided_array_is_as_good_as_any(moshi: Golden, speech: np.ndarray) -> None:
    doubled = np.repeat(speech[:19_200], 2)[::2]
    np.testing.assert_array_equal(moshi.mimi.encode(doubled), moshi.mimi.encode(speech[:19_200]))


@pytest.mark.parametrize(
    ("codes", "kind", "message"),
    [
        (np.zeros((7, 4), dtype=np.int32), ValueError, r"\[8, T\]"),
        (np.zeros(8, dtype=np.int32), TypeError, r"\[8, T\]"),
        (np.zeros((8, 4), dtype=np.float32), TypeError, "integer"),
        (np.full((8, 4), 64), ValueError, "64"),
        (np.full((8, 4), -1), ValueError, "-1"),
    ],
)
def test_codes_that_do_not_fit_the_codec(moshi: Golden, codes: np.ndarray, kind: type, message: str) -> None:
    for decode in (moshi.mimi.decode, moshi.mimi.stream().decode_step):
        with pytest.raises(kind, match=message):
            decode(codes)


def test_codes_that_do_not_fit_the_model(moshi: Golden) -> None:
    session = moshi.model.session()
    with pytest.raises(ValueError, match="8 integers"):
        session.step_codes(np.zeros(7, dtype=np.int32))
    with pytest.raises(ValueError, match="9999"):
        session.step_codes(np.full(8, 9_999))
    with pytest.raises(ValueError, match=r"\[17, T\]"):
        moshi.model.lm.forward(np.zeros((16, 4), dtype=np.int32))
    with pytest.raises(ValueError, match="9999"):
        moshi.model.lm.forward(np.full((17, 4), 9_999))


@pytest.mark.parametrize(("device", "message"), [("gpu", "auto, cpu, cuda"), ("cuda", "cuda"), ("metal", "metal")])
def test_devices_that_are_not_there(moshi: Golden, device: str, message: str) -> None:
    with pytest.raises((ValueError, rustymoshi.RustymoshiError), match=message):
        rustymoshi.Model.load(moshi.folder, device=device)


def test_more_codebooks_than_the_file_holds(moshi: Golden) -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        rustymoshi.Mimi.load(moshi.folder / "mimi.safetensors", num_codebooks=40)


def test_a_text_file_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_text("this is not audio\n" * 100)
    with pytest.raises(rustymoshi.RustymoshiError, match=r"speech\.wav"):
        rustymoshi.load_audio(path)


def test_a_text_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("this is not a model\n" * 100)
    with pytest.raises(rustymoshi.RustymoshiError, match=r"model\.safetensors"):
        rustymoshi.Model.load(path)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(rustymoshi.RustymoshiError, match="no-such-folder"):
        rustymoshi.Model.load("./no-such-folder")


def test_an_unwritable_place_is_named(tmp_path: Path, speech: np.ndarray) -> None:
    with pytest.raises(rustymoshi.RustymoshiError, match="nowhere"):
        rustymoshi.save_audio(tmp_path / "nowhere" / "out.wav", speech)
