"""Sound devices for tests: PulseAudio with null sinks as microphone and loudspeaker."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import missing

PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
#: How ALSA, on which PortAudio plays, reaches PulseAudio.
LIBRARIES = (Path("/usr/lib"), Path("/usr/lib64"))
PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"


def lacking() -> list[str]:
    """What this machine lacks of audio devices made of programs."""
    lacks = [name for name in PROGRAMS if shutil.which(name) is None]
    if ctypes.util.find_library("portaudio") is None:
        lacks.append("libportaudio")
    if not any(list(folder.glob(pattern)) for folder in LIBRARIES for pattern in (PLUGIN, f"*/{PLUGIN}")):
        lacks.append("libasound_module_pcm_pulse")
    return lacks


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose default microphone is the monitor of the null sink `room` and whose loudspeaker is the null
    sink `speaker` of a PulseAudio of its own."""
    if lacks := lacking():
        how = "apt-get install pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"
        missing(f"audio devices to test with ({', '.join(lacks)})", how)
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
