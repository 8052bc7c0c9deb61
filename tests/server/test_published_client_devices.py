"""`python -m moshi.client` as published, on audio devices: a voice in the room goes to the server and comes back.

The program, its package, its codec, its WebSocket and `sounddevice` (on PortAudio, ALSA and PulseAudio) are real. Stood
in for are torch and the libraries around it, which the package imports and the client does not need.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SPEECH = HERE / "fixtures" / "speech.wav"
RATE = 24_000


def wait_for(what: str, file: Path) -> None:
    """Until a program has written some words."""
    for _ in range(300):
        if what in file.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {what!r} in 30 s: {file.read_text()}")


def found(span: np.ndarray, heard: np.ndarray) -> float:
    """The largest normalised correlation of `span` with any part of `heard` that is as long."""
    size = 1 << int(np.ceil(np.log2(len(span) + len(heard))))
    cross = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(span, size)))[: len(heard) - len(span)]
    energy = np.concatenate([[0.0], np.cumsum(heard.astype(np.float64) ** 2)])
    energy = (energy[len(span) :] - energy[: -len(span)])[: len(cross)]
    return float((cross / (np.linalg.norm(span) * np.sqrt(energy) + 1e-3)).max())


def test_a_voice_in_the_room_is_answered_on_the_loudspeaker(
    start: Callable, published: Path, sound: dict[str, str], tmp_path: Path
) -> None:
    backend = start()
    path = os.pathsep.join([str(HERE / "no_torch"), str(published)])
    environment = {**sound, "PYTHONPATH": path}
    words, notes, answer = (tmp_path / name for name in ("words", "notes", "answer.raw"))
    listen = ["parec", "--device=speaker.monitor", "--format=float32le", f"--rate={RATE}", "--channels=1"]
    command = [sys.executable, "-m", "moshi.client", "--port", str(backend.port)]
    with words.open("w") as out, notes.open("w") as err, answer.open("wb") as raw:
        recorder = subprocess.Popen([*listen, "--latency-msec=40"], stdout=raw, env=sound)
        client = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        try:
            wait_for("connected!", notes)
            subprocess.run(["paplay", "--device=room", str(SPEECH)], env=sound, check=True, timeout=60)
            time.sleep(1.5)
            noted = notes.read_text()  # its microphone goes on for a moment after the end, which it then reports
            client.send_signal(signal.SIGINT)  # as its user ends it
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert client.wait(10) == 0  # on a busy machine its audio devices may take for ever to close
        finally:
            client.kill()
            recorder.terminate()
            recorder.wait(10)
    said = words.read_text()
    assert backend.stop() == 0
    assert said.startswith(" dot dot dot"), (said, noted)
    assert "Lost connection" not in noted and "Traceback" not in notes.read_text(), notes.read_text()
    # The client has no jitter buffer: on a busy machine it puts silence between frames that came.
    heard = np.fromfile(answer, dtype=np.float32)
    samples = np.frombuffer(SPEECH.read_bytes()[44:], dtype="<i2").astype(np.float32) / 32_768
    spans = [samples[at : at + RATE // 4] for at in range(0, len(samples) - RATE // 4, RATE // 4)]
    spans = [span for span in spans if np.sqrt(np.mean(span**2)) > 0.02]
    likeness = [found(span, heard) for span in spans]
    assert np.median(likeness) > 0.8, likeness
