"""`rustymoshi chat` on real audio devices: PulseAudio with null sinks as microphone and loudspeaker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import AUDIO, GOLDEN

NEEDS = ("pulseaudio", "pactl", "paplay", "parec")
SECONDS = 4


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose default microphone and loudspeaker are null sinks of a PulseAudio of its own."""
    missing = [name for name in NEEDS if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} missing: apt-get install pulseaudio libportaudio2 libasound2-plugins")
    if missing:
        pytest.skip("audio devices: apt-get install pulseaudio libportaudio2 libasound2-plugins")
    socket = tmp_path / "pulse.sock"
    script = tmp_path / "setup.pa"
    script.write_text(
        f"load-module module-native-protocol-unix socket={socket} auth-anonymous=1\n"
        "load-module module-null-sink sink_name=room rate=48000\n"
        "load-module module-null-sink sink_name=speaker rate=48000\n"
        "set-default-sink speaker\nset-default-source room.monitor\n"
    )
    asound = tmp_path / "asound.conf"
    asound.write_text("</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\nctl.!default { type pulse }\n")
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PULSE_SERVER": f"unix:{socket}",
        "HOME": str(tmp_path),
        "ALSA_CONFIG_PATH": str(asound),
    }
    command = ["pulseaudio", "-n", "-F", str(script), "--exit-idle-time=-1", "--daemonize=no", "--use-pid-file=no"]
    daemon = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if subprocess.run(["pactl", "info"], env=environment, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.fail("PulseAudio did not start")
        yield environment
    finally:
        daemon.terminate()
        daemon.wait(timeout=10)


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
