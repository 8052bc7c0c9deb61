"""The commands of the other kinds of model, and roles, voices and adapters on the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import GOLDEN, Golden
from test_cli import call

STT, HIBIKI, PERSONAPLEX = GOLDEN / "tiny-stt", GOLDEN / "tiny-hibiki", GOLDEN / "tiny-personaplex"
GREEDY = ("--temperature", 0, "--text-temperature", 0)


def transcribe(*args: object) -> subprocess.CompletedProcess[str]:
    return call("transcribe", *args, "--model", STT, "--dtype", "f32")


def test_a_recording_is_written_down_in_every_format(stt: Golden) -> None:
    speech = STT / "speech.wav"
    text = transcribe(speech)
    assert text.returncode == 0, text.stderr
    assert text.stdout == stt.meta["text"] + "\n"
    found = json.loads(transcribe(speech, "--format=json").stdout)
    assert found["text"] == stt.meta["text"]
    for word, expected in zip(found["words"], stt.meta["words"], strict=True):
        assert word == {key: pytest.approx(expected[key], abs=1e-3) for key in word} or word["text"] == expected["text"]
    assert transcribe(speech, "--format", "srt").stdout.startswith("1\n00:00:00,000 --> ")
    assert transcribe(speech, "--format", "vtt").stdout.startswith("WEBVTT\n")


def test_several_recordings_are_named_or_have_files_of_their_own(stt: Golden, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes((STT / "speech.wav").read_bytes())
    said = transcribe(STT / "speech.wav", other)
    assert said.stdout == f"{STT / 'speech.wav'}: {stt.meta['text']}\n{other}: {stt.meta['text']}\n"
    result = transcribe(STT / "speech.wav", other, "--format=srt", "-o", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "speech.srt").read_text() == (tmp_path / "other.srt").read_text() != ""


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "--mic"),
        (("--mic", STT / "speech.wav"), "--mic"),
        (("--mic", "--format=srt"), "when a recording is over"),
        ((STT / "speech.wav", HIBIKI / "speech.wav", "--format=srt"), "--output-folder"),
        ((STT / "speech.wav", HIBIKI / "speech.wav", "-o", "."), "same name"),
    ],
)
def test_what_cannot_be_written_down_is_told_before_a_model_is_loaded(args: tuple[object, ...], says: str) -> None:
    result = call("transcribe", *args, "--model", "/nowhere")
    assert result.returncode == 2 and says in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_a_recording_is_translated(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = call("translate", HIBIKI / "speech.wav", out, "--model", HIBIKI, "--dtype", "f32", *GREEDY)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    # It goes on after the end of what it heard.
    assert len(rustymoshi.load_audio(out)) > 30 * rustymoshi.FRAME_SAMPLES


@pytest.mark.parametrize(
    ("command", "repository"),
    [(("transcribe", "-"), "kyutai/stt-1b-en_fr"), (("translate", "-", "-"), "kyutai/hibiki-1b")],
)
def test_without_a_model_of_the_kind_one_is_named_with_its_size(command: tuple[str, ...], repository: str) -> None:
    for model in ((), ("--model", GOLDEN / "tiny-moshi")):
        result = call(*command, *model)
        assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
        said = " ".join(result.stderr.split())
        assert repository in said and "GB" in said and "dialogue" in said, said


def test_a_role_and_a_voice_change_what_is_said(tmp_path: Path) -> None:
    role = ("--role", "You are a kind guide.", "--voice", "VARM0")
    said = []
    for options in (role, ("--voice", PERSONAPLEX / "voices" / "VARF0.pt"), ()):
        out = tmp_path / "out.wav"
        result = call("run", PERSONAPLEX / "speech.wav", out, "--model", PERSONAPLEX, *GREEDY, "--tail=0", *options)
        assert result.returncode == 0, result.stderr
        said.append(rustymoshi.load_audio(out))
    assert not np.array_equal(said[0], said[1]) and not np.array_equal(said[1], said[2])
    result = call("run", PERSONAPLEX / "speech.wav", tmp_path / "out.wav", *role)
    assert result.returncode == 2 and "nvidia/personaplex-7b-v1" in " ".join(result.stderr.split())
    result = call("chat", "--voice", "NATF9", "--model", PERSONAPLEX)
    assert result.returncode == 1 and "VARF0, VARM0" in result.stderr


def test_an_adapter_changes_what_is_said(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    rustymoshi.save_audio(heard, np.zeros(24_000, np.float32))
    said = []
    for lora in ("a", "b"):
        out = tmp_path / f"{lora}.wav"
        options = ("--model", GOLDEN / "tiny-moshi", *GREEDY, "--tail=0", "--lora", GOLDEN / "tiny-lora" / lora)
        result = call("run", heard, out, *options)
        assert result.returncode == 0, result.stderr
        said.append(rustymoshi.load_audio(out))
    assert not np.array_equal(*said)
    result = call("run", heard, tmp_path / "out.wav", "--lora", GOLDEN / "tiny-lora" / "a")
    assert result.returncode == 2 and "--model" in result.stderr


def test_what_a_model_is_for_is_told() -> None:
    said = call("info", "--model", STT).stdout
    assert "stt" in said.splitlines()[0]
