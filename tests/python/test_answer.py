"""A question in a file is answered: the program goes on after its end until the answer is over."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import GOLDEN, Golden
from listener import Listener, plain, voiced
from test_cli import call
from test_conversation import ANSWERS, SPEECH

RATE, FRAME = rustymoshi.SAMPLE_RATE, rustymoshi.FRAME_SAMPLES


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(ANSWERS.values())


@pytest.mark.parametrize("name", ANSWERS)
def test_run_writes_the_whole_answer(name: str, listener: Listener, tmp_path: Path) -> None:
    question, answer = SPEECH / f"{name}.wav", tmp_path / "answer.wav"
    # A little silence before it, which the model was trained with.
    padded = np.pad(rustymoshi.load_audio(question), (RATE, 0))
    heard = tmp_path / "question.wav"
    rustymoshi.save_audio(heard, padded)
    result = call("run", heard, answer, "--seed", 2)
    assert result.returncode == 0, result.stderr
    assert plain(result.stdout) == plain(ANSWERS[name])
    spoken = rustymoshi.load_audio(answer)
    assert listener.hear(voiced(spoken, RATE), RATE) == plain(ANSWERS[name])
    assert len(spoken) > len(padded) + 3 * RATE - 4 * FRAME, "it was waited for"
    assert "--tail" not in result.stderr


def test_answer_is_the_same_as_steps_with_silence_behind(moshi: Golden, speech: np.ndarray) -> None:
    heard = speech[: 5 * FRAME + 700]
    pieces = list(rustymoshi.Answer(moshi.model.session(seed=3), heard, tail=1.0))
    padded = np.pad(heard, (0, (6 + 13) * FRAME - len(heard)))
    pcm, text = moshi.model.session(seed=3).step(padded)
    np.testing.assert_array_equal(np.concatenate([p for p, _ in pieces]), pcm)
    assert "".join(t for _, t in pieces) == text
    assert rustymoshi.Answer(moshi.model.session(), heard).frames == 6


def test_an_answer_that_does_not_end_is_cut(tmp_path: Path) -> None:
    # Random weights talk for ever.
    answer = tmp_path / "answer.wav"
    heard = tmp_path / "heard.wav"
    rustymoshi.save_audio(heard, np.zeros(RATE, np.float32))
    model = ("--model", GOLDEN / "tiny-moshi", "--temperature", 0.8, "--text-temperature", 0.7)
    for tail, seconds in ((0, 1 + 3 * 0.08), (2, 3.0)):
        result = call("run", heard, answer, *model, "--tail", tail)
        assert result.returncode == 0, result.stderr
        assert "--tail gives it more" in result.stderr
        assert abs(len(rustymoshi.load_audio(answer)) / RATE - seconds) < 0.4


def test_silence_is_answered_with_three_seconds_of_it() -> None:
    answer = rustymoshi.Answer(rustymoshi.Model.default().session(), np.zeros(RATE, np.float32))
    steps = list(answer)
    assert len(steps) == 13 + 38 and not answer.cut
    none = rustymoshi.Answer(rustymoshi.Model.default().session(), np.zeros(0, np.float32))
    assert len(list(none)) == 38


@pytest.mark.parametrize(
    "tail",
    [-1, -0.5, float("nan"), float("inf"), np.float32(-1), pytest.param(10**400, id="long"), "3", None, True, 3j],
)
def test_a_tail_that_is_no_time_is_named(moshi: Golden, tail: float) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^tail is "):
        rustymoshi.Answer(moshi.model.session(), np.zeros(FRAME, np.float32), tail=tail)


def test_the_help_says_how_long_it_goes_on() -> None:
    said = " ".join(call("run", "--help").stdout.split())
    assert "--tail" in said and "default: 30" in said and "three seconds" in said


def test_pipes(tmp_path: Path) -> None:
    question = SPEECH / "sound-of-a-bee.wav"
    file = tmp_path / "answer.wav"
    assert call("run", question, file).returncode == 0
    command = [sys.executable, "-m", "rustymoshi", "run", "-", "-"]
    result = subprocess.run(command, input=question.read_bytes(), capture_output=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout == file.read_bytes(), "nothing but the wav file"
    assert b"buzz" in result.stderr, "the words"


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
def test_named_pipes(tmp_path: Path) -> None:
    import os

    heard, said = tmp_path / "heard", tmp_path / "said"
    os.mkfifo(heard)
    os.mkfifo(said)
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: heard.write_bytes((SPEECH / "sound-of-a-bee.wav").read_bytes())),
        threading.Thread(target=lambda: got.append(said.read_bytes())),
    ]
    for thread in threads:
        thread.start()
    result = call("run", heard, said, "--tail", 1)
    for thread in threads:
        thread.join()
    assert result.returncode == 0, result.stderr
    assert got[0][:4] == b"RIFF" and len(got[0]) > 48_000
