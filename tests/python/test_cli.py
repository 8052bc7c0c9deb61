"""The command line, as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    assert abs(len(spoken) - len(speech)) <= 3 * 1_920
    assert np.abs(spoken).max() > 0


def test_run_takes_any_format_and_rate(tmp_path: Path) -> None:
    formats = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".webm"}
    files = [f for f in sorted(AUDIO.iterdir()) if f.suffix in formats and "six-channels" not in f.name]
    assert {f.suffix for f in files} == formats
    for file in files:
        result = call("run", file, tmp_path / "out.wav", RUSTYMOSHI_RUN_MODEL=str(GOLDEN / "tiny-moshi"))
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
