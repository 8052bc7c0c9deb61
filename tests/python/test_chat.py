"""`rustymoshi chat` on real audio devices: PulseAudio with null sinks as microphone and loudspeaker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import rustymoshi
from golden_data import AUDIO, GOLDEN

SECONDS = 4


def test_a_voice_from_the_microphone_is_answered_on_the_loudspeaker(sound: dict[str, str], tmp_path: Path) -> None:
    speech = tmp_path / "speech.wav"
    wav = next(f for f in sorted(AUDIO.iterdir()) if f.suffix == ".wav")
    rustymoshi.save_audio(speech, np.tile(rustymoshi.load_audio(wav), 4))
    recording = tmp_path / "answer.raw"
    with recording.open("wb") as out:
        listen = ["parec", "--device=speaker.monitor", "--format=float32le", "--rate=24000", "--channels=1"]
        listen.append("--latency-msec=40")
        recorder = subprocess.Popen(listen, stdout=out, env=sound)
        voice = subprocess.Popen(["paplay", "--device=room", str(speech)], env=sound)
        command = [sys.executable, "-m", "rustymoshi", "chat", "--model", GOLDEN / "tiny-moshi"]
        command += ["--seconds", str(SECONDS)]
        chat = subprocess.run(command, env=sound, capture_output=True, text=True, timeout=60, check=False)
        recorder.terminate()
        voice.terminate()
    assert chat.returncode == 0, chat.stderr
    assert chat.stdout.strip(), "no words"
    answer = np.fromfile(recording, dtype=np.float32)
    audible = np.abs(answer) > 1e-4
    assert audible.sum() > rustymoshi.SAMPLE_RATE, f"{audible.sum()} audible samples of {len(answer)}"


def test_a_machine_without_devices_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"}
    command = [sys.executable, "-m", "rustymoshi", "chat", "--seconds", "1", "--input-device", "no such microphone"]
    chat = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert chat.returncode == 1
    assert "rustymoshi: " in chat.stderr and "sounddevice" in chat.stderr and "Traceback" not in chat.stderr
