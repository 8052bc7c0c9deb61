"""The published Python client (PyPI `moshi`, module `moshi.client`) calls this server, unchanged.

What runs is theirs: `moshi.client.run` with its WebSocket (aiohttp), its receive loop, its Ogg Opus codec (`sphn`, on
libopus) and its printer. Two things are stood in for: `sounddevice`, which needs a sound card, by two threads that call
the client's callbacks every 80 ms as a card would; and the package's `__init__`, which imports torch although the
client does not need it. The whole program on audio devices is in `test_published_client_devices.py`; here every frame
that was played is looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

FRAME = 1_920


class SoundCard:
    """A stand-in for the module `sounddevice`: a microphone that speaks and a loudspeaker that remembers."""

    def __init__(self, speech: np.ndarray) -> None:
        self.frames = speech.reshape(-1, FRAME)
        self.played: list[np.ndarray] = []
        card = self

        class Stream:
            def __init__(self, samplerate: float, channels: int, blocksize: int, callback: Callable) -> None:
                assert (samplerate, channels, blocksize) == (24_000, 1, FRAME)
                self.callback = callback
                self.done = threading.Event()
                self.thread = threading.Thread(target=self.loop, daemon=True)

            def __enter__(self) -> Stream:
                self.thread.start()
                return self

            def __exit__(self, *_: object) -> None:
                self.done.set()
                self.thread.join()

            def loop(self) -> None:
                begin = time.monotonic()
                for at in range(10_000):
                    if self.done.wait(max(0.0, begin + at * 0.08 - time.monotonic())):
                        return
                    self.turn(at)

        class InputStream(Stream):
            def turn(self, at: int) -> None:
                frame = card.frames[at] if at < len(card.frames) else np.zeros(FRAME, np.float32)
                self.callback(frame.reshape(FRAME, 1).copy(), FRAME, None, None)

        class OutputStream(Stream):
            def turn(self, at: int) -> None:
                out = np.empty((FRAME, 1), np.float32)
                self.callback(out, FRAME, None, None)
                card.played.append(out[:, 0].copy())

        self.module = types.ModuleType("sounddevice")
        self.module.InputStream = InputStream
        self.module.OutputStream = OutputStream


@pytest.fixture
def card(speech: np.ndarray) -> SoundCard:
    return SoundCard(speech)


@pytest.fixture
def client(published: Path, card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    package = types.ModuleType("moshi")
    package.__path__ = [str(published / "moshi")]
    monkeypatch.setitem(sys.modules, "moshi", package)
    monkeypatch.setitem(sys.modules, "sounddevice", card.module)
    yield importlib.import_module("moshi.client")
    for name in [name for name in sys.modules if name.startswith("moshi.")]:
        del sys.modules[name]


def test_the_published_client_hears_the_server(start, client, card, speech, likeness) -> None:
    backend = start()
    utils = importlib.import_module("moshi.client_utils")
    words, notes = io.StringIO(), io.StringIO()
    printer = utils.RawPrinter(stream=words, err_stream=notes)
    where = argparse.Namespace(host="localhost", port=backend.port, https=False, url=None)

    async def talk() -> None:
        call = asyncio.create_task(client.run(printer, where))
        await asyncio.sleep(len(card.frames) * 0.08 + 1.5)
        # The server hangs up politely, and the client ends by itself.
        assert await asyncio.to_thread(backend.stop) == 0
        await asyncio.wait_for(call, 10)

    asyncio.run(talk())
    assert words.getvalue().startswith(" dot dot dot"), (words.getvalue(), notes.getvalue())
    assert "Lost connection" not in notes.getvalue(), notes.getvalue()
    assert "Error" not in notes.getvalue(), notes.getvalue()
    # The client has no jitter buffer: on a busy machine it puts whole frames of zeros between those that came.
    played = np.concatenate([frame for frame in card.played if frame.any()])
    assert len(played) >= len(speech) - 4 * FRAME, "all of it was played"
    assert likeness(speech, played) > 0.85, "and it was the speech"
