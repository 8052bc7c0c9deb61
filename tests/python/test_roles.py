"""Role-play: voices and roles give the calls of the published program."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import Golden

GREEDY = {"temperature": 0.0, "text_temperature": 0.0}


def call(golden: Golden, **session: object) -> np.ndarray:
    """What a greedy session says to the reference's caller."""
    opened = golden.model.session(**GREEDY, **session)  # type: ignore[arg-type]
    out = [opened.step_codes(frame) for frame in golden["user_codes"].T]
    return np.stack([frame for frame in out if frame is not None])


@pytest.mark.parametrize(("run", "voice"), [("wav", "VARM0.wav"), ("pt", "VARF0.pt")])
def test_a_voice_and_a_role_give_the_call_of_the_reference(personaplex: Golden, run: str, voice: str) -> None:
    role = personaplex.meta["role"]
    expected = personaplex[f"{run}_out_tokens"][1:]  # its first frame is the last of the prompt
    for name in (personaplex.folder / "voices" / voice, voice, voice.split(".")[0]):
        np.testing.assert_array_equal(call(personaplex, voice=name, role=role)[: len(expected)], expected)


def test_sound_goes_both_ways_after_a_prompt(personaplex: Golden) -> None:
    heard = rustymoshi.load_audio(personaplex.folder / "speech.wav")
    session = personaplex.model.session(**GREEDY, voice="VARM0", role=personaplex.meta["role"])
    pcm, _text = session.step(heard)
    other, _text = personaplex.model.session(**GREEDY).step(heard)
    # The model's delay is filled by the prompt.
    assert len(pcm) == len(other) + 1_920 >= len(heard) - 1_920
    assert np.isfinite(pcm).all() and not np.array_equal(pcm[: len(other)], other)


def test_sessions_with_other_prompts_run_side_by_side(personaplex: Golden) -> None:
    role = personaplex.meta["role"]
    alone = {voice: call(personaplex, voice=voice, role=role) for voice in ("VARM0", "VARF0")}
    plain = call(personaplex)
    sessions = {voice: personaplex.model.session(**GREEDY, voice=voice, role=role) for voice in alone}
    sessions["none"] = personaplex.model.session(**GREEDY)
    said: dict[str, list[np.ndarray]] = {voice: [] for voice in sessions}
    for frame in personaplex["user_codes"].T:
        for voice, session in sessions.items():
            out = session.step_codes(frame)
            if out is not None:
                said[voice].append(out)
    for voice, expected in {**alone, "none": plain}.items():
        np.testing.assert_array_equal(np.stack(said[voice]), expected)
    assert not np.array_equal(alone["VARM0"], alone["VARF0"])


def test_the_voices_beside_the_model_are_known_by_name(personaplex: Golden) -> None:
    assert personaplex.model.info["voices"] == ["VARF0", "VARM0"]
    with pytest.raises(ValueError, match=r"NATF7.*VARF0, VARM0"):
        personaplex.model.session(voice="NATF7")


def test_a_voice_that_would_execute_code_is_refused(personaplex: Golden, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    path = tmp_path / "evil.pt"
    shutil.copy(personaplex.folder / "voices" / "VARF0.pt", path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ValueError, match=r"evil\.pt"):
        personaplex.model.session(voice=path)
    assert not (tmp_path / "executed").exists()


def test_what_cannot_be_a_role_or_voice_is_told(personaplex: Golden, moshi: Golden, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorten"):
        personaplex.model.session(voice="VARM0", role="guide " * 100_000)
    with pytest.raises(ValueError, match="width 64"):
        moshi.model.session(voice=personaplex.folder / "voices" / "VARF0.pt")
    short = tmp_path / "short.wav"
    rustymoshi.save_audio(short, np.full(2_400, 0.1, np.float32))
    with pytest.raises(ValueError, match=r"0\.4 s"):
        personaplex.model.session(voice=short)
    silent = tmp_path / "silent.wav"
    rustymoshi.save_audio(silent, np.zeros(24_000, np.float32))
    with pytest.raises(ValueError, match="silent"):
        personaplex.model.session(voice=silent)
