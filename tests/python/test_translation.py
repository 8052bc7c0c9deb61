"""Translation: the voice and words of the published program, to their end."""

from __future__ import annotations

import numpy as np
import pytest
import rustymoshi
from golden_data import Golden

GREEDY = {"temperature": 0.0, "text_temperature": 0.0}


def assert_is_the_reference(golden: Golden, pcm: np.ndarray, text: str) -> None:
    assert pcm.shape == golden["pcm"].shape
    assert np.abs(pcm - golden["pcm"]).max() < 1e-3 * np.abs(golden["pcm"]).max()
    assert text.strip() == golden.meta["runs"]["plain"]["text"].strip()


def test_a_file_is_translated(hibiki: Golden) -> None:
    assert hibiki.model.kind == "translation"
    pieces: list[str] = []
    translation = hibiki.model.translate(
        hibiki.folder / "speech.wav", **GREEDY, progress=lambda _at, _total, text: pieces.append(text)
    )
    assert_is_the_reference(hibiki, translation.pcm, translation.text)
    assert "".join(pieces).strip() == translation.text and "Translation(" in repr(translation)


@pytest.mark.parametrize("piece", [1_000, 48_000])
def test_a_session_ends_when_it_has_said_everything(hibiki: Golden, piece: int) -> None:
    heard = rustymoshi.load_audio(hibiki.folder / "speech.wav")
    session = hibiki.model.session(**GREEDY)
    said = [session.step(heard[i : i + piece]) for i in range(0, len(heard), piece)]
    said.append(session.finish())
    assert_is_the_reference(hibiki, np.concatenate([pcm for pcm, _ in said]), "".join(text for _, text in said))
    with pytest.raises(rustymoshi.RustymoshiError, match="not open"):
        session.step(heard)


def test_codes_are_translated_without_the_codec(hibiki: Golden) -> None:
    session = hibiki.model.session(**GREEDY)
    out = [session.step_codes(frame) for frame in hibiki["codes"].T]
    np.testing.assert_array_equal(np.stack([frame for frame in out if frame is not None]), hibiki["out_tokens"])


def test_guidance_says_what_the_reference_says() -> None:
    golden = Golden("tiny-hibiki")
    session = golden.model.session(**GREEDY, cfg=3.0)
    out = [session.step_codes(frame) for frame in golden["cfg_codes"].T]
    np.testing.assert_array_equal(np.stack([frame for frame in out if frame is not None]), golden["cfg_out_tokens"])
    translation = golden.model.translate(golden.folder / "speech.wav", **GREEDY, cfg=3.0)
    assert translation.text == golden.meta["runs"]["cfg_"]["text"].strip()
    assert len(translation.pcm) == 1_920 * len(golden["cfg_out_tokens"])
    with pytest.raises((TypeError, ValueError), match="cfg"):
        golden.model.session(cfg="much")  # type: ignore[arg-type]


def test_a_dialogue_ends_too(moshi: Golden) -> None:
    session = moshi.model.session(**GREEDY)
    pcm, _text = session.step(moshi["pcm_in"][:10_000])
    rest, _text = session.finish()
    assert len(pcm) + len(rest) == moshi.model.session(**GREEDY).step(moshi["pcm_in"][: 6 * 1_920])[0].size


def test_what_sessions_may_be_told_is_known() -> None:
    assert "very_good" in Golden("tiny-hibiki").model.info["conditions"]["description"]
