"""The server's binary on a free port, and the published Python client to call it with.

MOSHI_BACKEND names the binary (default: target/release/moshi-backend, built if it is not there).
"""

from __future__ import annotations

import importlib
import os
import queue
import signal
import subprocess
import sys
import threading
import types
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from needs import missing

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What published programs use: their client and their codec. `--no-deps`, because the client needs no torch.
PUBLISHED = ["moshi==0.2.13", "sphn==0.2.0"]
PUBLISHED_FOLDER = ROOT / "target" / "published-client"


class Backend:
    """A running `moshi-backend standalone`."""

    def __init__(self, binary: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MOSHI_")}
        command = [str(binary), "standalone", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean | (environment or {})
        )
        self.errors: list[str] = []
        self.lines: queue.Queue[str] = queue.Queue()
        for stream, take in ((self.process.stdout, self.lines.put), (self.process.stderr, self.errors.append)):
            threading.Thread(target=lambda s=stream, t=take: [t(line.rstrip("\n")) for line in s], daemon=True).start()
        self.said: list[str] = []
        try:
            while not (self.said and self.said[-1].startswith("open ")):
                self.said.append(self.lines.get(timeout=30))
        except queue.Empty:
            self.process.kill()
            raise AssertionError(f"the server did not start: {self.said} {self.errors}") from None
        self.url = self.said[-1].removeprefix("open ")
        self.port = int(self.url.rsplit(":", 1)[1])

    @property
    def chat(self) -> str:
        return self.url.replace("http", "ws", 1) + "/api/chat"

    def stop(self) -> int:
        """Asks it to stop as an operating system does, and gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def binary() -> Path:
    if named := os.environ.get("MOSHI_BACKEND"):
        return Path(named).resolve()
    built = ROOT / "target" / "release" / "moshi-backend"
    if not built.exists():
        subprocess.run(["cargo", "build", "--release", "-p", "moshi-backend"], cwd=ROOT, check=True)
    return built


@pytest.fixture
def start(binary: Path) -> Iterator[Callable[..., Backend]]:
    """Starts servers that end with the test; a loopback on a free port unless told otherwise."""
    running: list[Backend] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> Backend:
        given = options if "--model" in options or environment else ("--model", "loopback", "--port", "0", *options)
        running.append(Backend(binary, *given, environment=environment))
        return running[-1]

    yield start
    for backend in running:
        if backend.process.poll() is None:
            backend.process.kill()
            backend.process.wait()


@pytest.fixture(scope="session")
def published() -> Iterator[Path]:
    """The folder of the published packages, on the import path; fetched on first use."""
    if not (PUBLISHED_FOLDER / "moshi" / "client.py").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*pip, "--target", str(PUBLISHED_FOLDER), *PUBLISHED], check=False).returncode != 0:
            missing(f"published client ({' '.join(PUBLISHED)})", "from PyPI, for CPython 3.10 to 3.13")
    sys.path.append(str(PUBLISHED_FOLDER))
    yield PUBLISHED_FOLDER
    sys.path.remove(str(PUBLISHED_FOLDER))


@pytest.fixture(scope="session")
def sphn(published: Path) -> types.ModuleType:
    """The published clients' Ogg Opus, on libopus."""
    return importlib.import_module("sphn")


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """Six seconds of speech made with espeak-ng, 24 kHz."""
    with wave.open(str(HERE / "fixtures" / "speech.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return (np.resize(samples, 6 * 24_000) / 32_768).astype(np.float32)


@pytest.fixture(scope="session")
def likeness() -> Callable[[np.ndarray, np.ndarray], float]:
    """How much of one signal is in another, wherever it begins: the largest normalised cross-correlation."""

    def likeness(a: np.ndarray, b: np.ndarray) -> float:
        size = 1 << int(np.ceil(np.log2(len(a) + len(b))))
        cross = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)))
        return float(cross.max() / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))

    return likeness
