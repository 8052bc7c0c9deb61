"""`rustymoshi speak`: from text, files and standard input, to files, pipes and the loudspeaker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import GOLDEN
from test_cli import call

TTS = GOLDEN / "tiny-tts"
OPTIONS = ("--model", TTS, "--voice", "bob", "--cfg", "1", "--dtype", "f32")
GREEDY = ("--temperature", "0", "--text-temperature", "0")
COMMAND = [sys.executable, "-m", "rustymoshi", "speak", *map(str, (*OPTIONS, *GREEDY))]
TEXT = "hello there, how is it?"


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What the text sounds like, as a 16-bit file holds it."""
    model = rustymoshi.Model.load(TTS, dtype="f32")
    speech = model.synthesize(TEXT, "bob", cfg=1.0, temperature=0.0, text_temperature=0.0)
    return np.round(np.clip(speech.pcm, -1, 1) * 32_767) / 32_768


def speak(*args: object, text: str | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, args)]
    given = text.encode() if text is not None else b""
    return subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)


def test_a_text_a_file_and_standard_input_sound_the_same(expected: np.ndarray, tmp_path: Path) -> None:
    out, file = tmp_path / "out.wav", tmp_path / "text.txt"
    file.write_text(TEXT)
    for args, given in (
        ((TEXT,), None),
        (tuple(TEXT.split()), None),
        (("-f", file), None),
        (("-",), TEXT),
        (("-f", "-"), TEXT),
    ):
        result = speak(*args, "-o", out, text=given)
        assert result.returncode == 0, result.stderr
        assert b"times real time" in result.stderr and result.stdout == b""
        np.testing.assert_allclose(rustymoshi.load_audio(out), expected, atol=2e-4)
        out.unlink()


def test_standard_output_takes_a_wav_file_or_samples_as_they_are_made(expected: np.ndarray, tmp_path: Path) -> None:
    wav = tmp_path / "out.wav"
    wav.write_bytes(speak(TEXT, "-o", "-").stdout)
    np.testing.assert_allclose(rustymoshi.load_audio(wav), expected, atol=2e-4)
    raw = speak(TEXT, "-o", "-", "--format", "pcm").stdout
    np.testing.assert_allclose(np.frombuffer(raw, "<i2") / 32_768, expected, atol=2e-4)
    assert speak(TEXT, "-o", tmp_path / "out.pcm", "--format=pcm").returncode == 0
    assert (tmp_path / "out.pcm").read_bytes() == raw


def test_standard_input_is_read_aloud_while_it_comes(expected: np.ndarray) -> None:
    command = [*COMMAND, "-", "-o", "-", "--format", "pcm"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdin is not None and program.stdout is not None
        try:
            program.stdin.write(b"hello there, how is ")
            program.stdin.flush()
            # It looks two words ahead; what is before them is read now.
            begun = os.read(program.stdout.fileno(), 2 * rustymoshi.FRAME_SAMPLES)
            assert begun
            rest, errors = program.communicate(b"it?", timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0, errors
    np.testing.assert_allclose(np.frombuffer(begun + rest, "<i2") / 32_768, expected, atol=2e-4)


def test_what_cannot_be_done_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    for args, says in (
        ((), "give a text"),
        ((TEXT, "-f", text), "give a text"),
        ((" ",), "empty"),
        ((TEXT, "--format", "pcm"), "--output"),
        ((TEXT, "-o", tmp_path / "out.mp3"), "only wav files are written"),
        ((TEXT, "-o", tmp_path / "nowhere" / "out.wav"), "nowhere"),
        (("-f", tmp_path / "nowhere.txt"), "nowhere.txt"),
    ):
        result = call("speak", *args, "--model", "/nowhere")
        assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
        assert says in " ".join(result.stderr.split()), result.stderr


def test_without_a_model_that_reads_one_is_named_with_its_size() -> None:
    for model in ((), ("--model", GOLDEN / "tiny-moshi")):
        result = call("speak", TEXT, *model)
        said = " ".join(result.stderr.split())
        assert result.returncode == 2 and "kyutai/tts-1.6b-en_fr" in said and "3.7 GB" in said and "dialogue" in said


def test_errors_are_one_line(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("caf\u00e9".encode("latin-1"))
    for args, code, says in (
        (("-f", latin), 2, "no text in UTF-8"),
        ((TEXT, "--voice", "nobody"), 1, "anna, bob"),
        (("one <break time=x>",), 1, "no break"),
        ((TEXT, "--cfg", "1.7"), 1, "cfg is 1.7"),
        ((TEXT, "--num-codebooks", "9"), 1, "1 to 8"),
    ):
        result = speak("-o", tmp_path / "out.wav", *args)
        said = " ".join(result.stderr.decode().split())
        assert result.returncode == code and says in said and "Traceback" not in said, said


def test_what_was_made_before_ctrl_c_is_kept(tmp_path: Path) -> None:
    import signal

    out = tmp_path / "out.wav"
    command = [*COMMAND, "-", "-o", str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdin is not None
        # It reads aloud what has come, and waits for more.
        program.stdin.write(b"hello there " * 200)
        program.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(8)
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
    assert program.returncode != 0
    assert len(rustymoshi.load_audio(out)) > rustymoshi.FRAME_SAMPLES


def test_the_loudspeaker_plays_it(sound: dict[str, str], expected: np.ndarray, tmp_path: Path) -> None:
    recording = tmp_path / "played.raw"
    with recording.open("wb") as out:
        listen = ["parec", "--device=speaker.monitor", "--format=float32le", "--rate=24000", "--channels=1"]
        recorder = subprocess.Popen([*listen, "--latency-msec=40"], stdout=out, env=sound)
        result = subprocess.run(
            [*COMMAND, TEXT], env=sound, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        recorder.terminate()
        recorder.wait()
    assert result.returncode == 0, result.stderr
    audible = np.abs(np.fromfile(recording, dtype=np.float32)) > 1e-4
    assert audible.sum() > 0.5 * (np.abs(expected) > 1e-4).sum(), f"{audible.sum()} of {len(expected)}"


def test_a_machine_without_a_loudspeaker_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"}
    command = [*COMMAND, TEXT, "--output-device", "no such loudspeaker"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and "sounddevice" in result.stderr and "Traceback" not in result.stderr
