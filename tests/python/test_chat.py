"""`rustymoshi chat` on real audio devices: PulseAudio with null sinks as microphone and loudspeaker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
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


def chat_without_devices(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `rustymoshi chat` says where no microphone is."""
    environment = {**os.environ, "HOME": str(home), "PULSE_SERVER": "unix:/nowhere", **environment}
    command = [sys.executable, "-m", "rustymoshi", "chat", "--seconds", "1", "--input-device", "no such microphone"]
    chat = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert chat.returncode == 1
    assert chat.stderr.startswith("rustymoshi: ") and "Traceback" not in chat.stderr, chat.stderr
    return chat


def test_a_machine_without_devices_says_what_to_do(tmp_path: Path) -> None:
    # With PortAudio or without, with the package or without: this machine may be any of these.
    assert "sounddevice" in chat_without_devices(tmp_path).stderr


LACKS = {
    "the package": ("raise ModuleNotFoundError(\"No module named 'sounddevice'\", name='sounddevice')", "pip install"),
    "PortAudio": ("raise OSError('PortAudio library not found')", "apt-get install libportaudio2"),
    "PortAudio for this system": ("raise OSError('libportaudio.so: wrong ELF class')", "apt-get install libportaudio2"),
    "the package's own C module": ("raise ImportError('No module named _cffi_backend')", "pip install sounddevice"),
}


@pytest.mark.parametrize("lacks", LACKS)
def test_a_machine_that_lacks_a_library_says_how_to_get_it(lacks: str, tmp_path: Path) -> None:
    source, advice = LACKS[lacks]
    (tmp_path / "sounddevice.py").write_text(source + "\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    said = chat_without_devices(tmp_path, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1").stderr
    assert "no audio devices" in said and advice in said, said


def test_the_microphone_is_written_down(sound: dict[str, str], tmp_path: Path) -> None:
    speech = tmp_path / "speech.wav"
    rustymoshi.save_audio(speech, np.tile(rustymoshi.load_audio(GOLDEN / "tiny-stt" / "speech.wav"), 4))
    voice = subprocess.Popen(["paplay", "--device=room", str(speech)], env=sound)
    command = [sys.executable, "-m", "rustymoshi", "transcribe", "--mic", "--model", GOLDEN / "tiny-stt"]
    result = subprocess.run(
        [*command, "--seconds", str(SECONDS)], env=sound, capture_output=True, text=True, timeout=60, check=False
    )
    voice.terminate()
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip(), "no words"
