"""The command line, as a user calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import AUDIO, GOLDEN


def call(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rustymoshi", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=120, check=False)


def test_run_answers_a_file(tmp_path: Path, speech: np.ndarray) -> None:
    heard, said = tmp_path / "in.wav", tmp_path / "out.wav"
    rustymoshi.save_audio(heard, speech)
    result = call("run", heard, said, "--model", GOLDEN / "tiny-moshi", "--temperature", 0, "--text-temperature", 0)
    assert result.returncode == 0, result.stderr
    assert "times real time" in result.stderr and "frame" in result.stderr
    assert result.stdout.strip(), "no words"
    spoken = rustymoshi.load_audio(said)
    # Random weights talk on until the default tail of 30 s is over.
    assert len(speech) <= len(spoken) <= len(speech) + 31 * 24_000
    assert np.abs(spoken).max() > 0


def test_run_takes_any_format_and_rate(tmp_path: Path) -> None:
    formats = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".webm"}
    files = [f for f in sorted(AUDIO.iterdir()) if f.suffix in formats and "six-channels" not in f.name]
    assert {f.suffix for f in files} == formats
    for file in files:
        result = call("run", file, tmp_path / "out.wav", "--tail=0", RUSTYMOSHI_RUN_MODEL=str(GOLDEN / "tiny-moshi"))
        assert result.returncode == 0, f"{file.name}: {result.stderr}"


def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    result = call("run", AUDIO / "six-channels.opus", tmp_path / "out.wav")
    assert result.returncode == 1
    assert "six-channels.opus" in result.stderr and "expected 1 or 2" in result.stderr


def test_the_built_in_model_says_what_it_is(tmp_path: Path) -> None:
    result = call("info")
    assert result.returncode == 0, result.stderr
    assert "built-in" in result.stdout


def test_errors_are_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no audio here")
    result = call("run", text, tmp_path / "out.wav")
    assert result.returncode == 1
    assert result.stderr.strip().startswith("rustymoshi: ") and "Traceback" not in result.stderr
    assert "notes.txt" in result.stderr


OTHER = ["mp3", "MP3", "flac", "ogg", "opus", "m4a", "aiff", "webm", "w64", "raw", "pcm", "txt", "wav ", "wavx"]
OTHER += ["wav.mp3", "0"]


@pytest.mark.parametrize("ending", OTHER)
def test_other_endings_are_refused_before_the_work(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"answer.{ending}"
    result = call("run", AUDIO / "speech-16k.wav", out)
    assert result.returncode == 2 and not out.exists()
    assert "only wav files are written" in result.stderr and "Traceback" not in result.stderr
    assert "real time" not in result.stderr
    with pytest.raises(ValueError, match="only wav files are written"):
        rustymoshi.save_audio(out, np.zeros(100, np.float32))
    assert not out.exists()


@pytest.mark.parametrize("name", ["a.wav", "a.WAV", "a.Wave", "answer", ".wav", "a.mp3.wav", "dots.in.name.wav", "a."])
def test_names_that_promise_wav_or_nothing_are_written(name: str, tmp_path: Path) -> None:
    pcm = np.linspace(-1, 1, 1_000, dtype=np.float32)
    rustymoshi.save_audio(tmp_path / name, pcm)
    assert (tmp_path / name).read_bytes()[:4] == b"RIFF"
    np.testing.assert_allclose(rustymoshi.load_audio(tmp_path / name), pcm, atol=1e-4)


def test_places_that_cannot_be_written_are_named_before_the_work(tmp_path: Path) -> None:
    for out in (tmp_path / "nowhere" / "a.wav", AUDIO / "speech-16k.wav" / "a.wav", tmp_path):
        result = call("run", AUDIO / "speech-16k.wav", out)
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert "real time" not in result.stderr


OPTIONS = {
    "--seed": ["-2", "1.5", "x", str(2**64), str(-(2**70)), "1" * 400, "nan"],
    "--top-k": ["-1", "1.5", str(2**64), "1" * 400],
    "--text-top-k": ["-1", str(2**40)],
    "--temperature": ["-1", "nan", "inf", "1e40", "x", "11"],
    "--text-temperature": ["-0.1", "nan", "-inf"],
    "--threads": ["-1", "0", "1.5", str(2**64), "100000"],
    "--tail": ["-1", "nan", "inf", "x", "-inf"],
}


@pytest.mark.parametrize(("option", "value"), [(o, v) for o, values in OPTIONS.items() for v in values])
def test_numbers_out_of_range_are_one_line_that_names_the_option(option: str, value: str, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = call("run", AUDIO / "speech-16k.wav", out, f"{option}={value}")
    assert result.returncode in (1, 2) and not out.exists()
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    name = option.removeprefix("--")
    assert name in last or name.replace("-", "_") in last, result.stderr


def test_a_seed_of_minus_one_is_any(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    rustymoshi.save_audio(heard, np.zeros(24_000, np.float32))
    model = ("--model", GOLDEN / "tiny-moshi", "--temperature", 0.8, "--text-temperature", 0.7, "--tail", 0)
    for option in (("--seed", "-1"), ("--seed=-1",)):
        outs = [tmp_path / f"{i}.wav" for i in range(2)]
        for out in outs:
            result = call("run", heard, out, *option, *model)
            assert result.returncode == 0, result.stderr
        assert outs[0].read_bytes() != outs[1].read_bytes()


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "x"])
def test_chat_seconds_out_of_range(value: str) -> None:
    result = call("chat", f"--seconds={value}")
    assert result.returncode == 2 and "--seconds" in result.stderr and "Traceback" not in result.stderr


def test_what_was_said_before_ctrl_c_is_kept(tmp_path: Path) -> None:
    heard, out = tmp_path / "heard.wav", tmp_path / "out.wav"
    rustymoshi.save_audio(heard, np.zeros(24_000 * 1_200, np.float32))
    command = [sys.executable, "-m", "rustymoshi", "run", heard, out]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        seen = ""
        while "1%" not in seen and program.poll() is None:
            seen += program.stderr.read(1)
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
    assert program.returncode != 0
    assert len(rustymoshi.load_audio(out)) > 10_000


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    whole = (AUDIO / "speech-16k.wav").read_bytes()
    heard = tmp_path / "short.wav"
    heard.write_bytes(whole[: len(whole) // 2])
    result = call("run", heard, tmp_path / "out.wav", "--tail=0")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "ends after" in line]
    assert len(lines) == 1 and lines[0].startswith(f"rustymoshi: {heard} ends after"), result.stderr
    assert "UserWarning" not in result.stderr
