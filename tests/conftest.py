"""Sound devices for tests: PulseAudio with null sinks as microphone and loudspeaker."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NEEDS = ("pulseaudio", "pactl", "paplay", "parec")


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose default microphone is the monitor of the null sink `room` and whose loudspeaker is the null
    sink `speaker` of a PulseAudio of its own."""
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
