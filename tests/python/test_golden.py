"""The wheel reproduces what the published PyTorch package computes."""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import Golden


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_mimi_encodes_to_the_same_codes(golden: Golden) -> None:
    codes = golden.mimi.encode(golden["pcm_in"])
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, golden["mimi_codes_oneshot_8"])


def test_mimi_decodes_to_the_same_samples(golden: Golden) -> None:
    pcm = golden.mimi.decode(golden["mimi_codes_oneshot_8"])
    assert pcm.dtype == np.float32
    assert relative_error(pcm, golden["mimi_pcm_oneshot"]) < 1e-4


@pytest.mark.parametrize("piece", [1, 777, 1_920, 10_000])
def test_mimi_streams_the_same_codes_in_any_pieces(moshi: Golden, piece: int) -> None:
    stream = moshi.mimi.stream()
    heard = moshi["pcm_in"][: 12 * 1_920] if piece == 1 else moshi["pcm_in"]
    parts = [stream.encode_step(heard[i : i + piece]) for i in range(0, len(heard), piece)]
    codes = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(codes, moshi["mimi_codes_oneshot_8"][:, : len(heard) // 1_920])


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_mimi_streams_the_same_samples_in_any_pieces(moshi: Golden, chunk: int) -> None:
    stream = moshi.mimi.stream()
    codes = moshi["mimi_codes_oneshot_8"]
    pcm = np.concatenate([stream.decode_step(codes[:, i : i + chunk]) for i in range(0, codes.shape[1], chunk)])
    assert relative_error(pcm, moshi["mimi_pcm_oneshot"]) < 1e-4


def test_teacher_forced_logits_agree(golden: Golden) -> None:
    text, audio = golden.model.lm.forward(golden["tf_codes"])
    assert relative_error(text, golden["tf_text_logits"]) < 1e-4
    inside = golden["tf_audio_mask"].astype(bool)
    assert relative_error(audio[inside], golden["tf_audio_logits"][inside]) < 1e-4


def test_the_greedy_loop_writes_the_same_tokens(golden: Golden) -> None:
    session = golden.model.session(temperature=0, text_temperature=0)
    users = golden.model.info["user_streams"]
    out = [session.step_codes(frame) for frame in golden["mimi_codes_oneshot_8"][:users].T]
    tokens = np.stack([frame for frame in out if frame is not None])
    np.testing.assert_array_equal(tokens, golden["lm_out_tokens"])


def test_the_whole_session_speaks_the_same_samples(golden: Golden) -> None:
    session = golden.model.session(temperature=0, text_temperature=0)
    pcm, _text = session.step(golden["pcm_in"])
    assert pcm.shape == golden["session_pcm_out"].shape
    assert relative_error(pcm, golden["session_pcm_out"]) < 1e-3


def test_the_reference_executor_agrees(moshi: Golden) -> None:
    import rustymoshi

    try:
        model = rustymoshi.Model.load(moshi.folder, device="reference")
    except rustymoshi.RustymoshiError as error:
        if "not in this build" in str(error):
            pytest.skip("built without the reference executor")
        raise
    text, _audio = model.lm.forward(moshi["tf_codes"])
    assert relative_error(text, moshi["tf_text_logits"]) < 1e-4


@pytest.mark.parametrize(("quantize", "least"), [("q8", 0.999), ("q4", 0.99)])
def test_integers_made_while_loading_say_nearly_the_same(moshi: Golden, quantize: str, least: float) -> None:
    import rustymoshi

    model = rustymoshi.Model.load(moshi.folder, quantize=quantize)
    text, audio = model.lm.forward(moshi["tf_codes"])
    inside = moshi["tf_audio_mask"].astype(bool)
    pairs = [(text, moshi["tf_text_logits"]), (audio[inside], moshi["tf_audio_logits"][inside])]
    for found, expected in pairs:
        cosine = np.vdot(found, expected) / np.linalg.norm(found) / np.linalg.norm(expected)
        assert least < cosine < 0.9999999, "other numbers, and near ones"
    session = model.session(seed=1)
    pcm, _text = session.step(moshi["pcm_in"])
    assert np.isfinite(pcm).all() and np.abs(pcm).max() > 0
