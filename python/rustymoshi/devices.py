"""This machine's microphone and loudspeaker, frame by frame, with the package sounddevice (the extra `audio`)."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rustymoshi import FRAME_SAMPLES, SAMPLE_RATE, RustymoshiError, StreamingSession

#: Frames that may wait between the sound card and the model; beyond it the oldest is dropped, so that lag is bounded.
MAX_WAITING = 4


class Speaker:
    """What the loudspeaker still has to play; silence where there is nothing."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[NDArray[np.float32]] = queue.SimpleQueue()
        self._rest: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def add(self, pcm: NDArray[np.float32]) -> None:
        """Queue samples; frames beyond the limit push the oldest out."""
        self._waiting.put(pcm)
        while self._waiting.qsize() > MAX_WAITING:
            self._waiting.get_nowait()

    def fill(self, out: NDArray[np.float32]) -> None:
        """Write the next samples to `out`."""
        while len(self._rest) < len(out) and not self._waiting.empty():
            self._rest = np.concatenate([self._rest, self._waiting.get_nowait()])
        ready, self._rest = self._rest[: len(out)], self._rest[len(out) :]
        out[: len(ready)] = ready
        out[len(ready) :] = 0.0


def open_streams(
    microphone: queue.SimpleQueue[NDArray[np.float32]],
    speaker: Speaker,
    input_device: str | None,
    output_device: str | None,
) -> Any:
    """A duplex stream at 24 kHz whose callback only moves samples."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        how = "`pip install sounddevice`, on Linux also PortAudio (`apt-get install libportaudio2`)"
        raise RustymoshiError(f"no audio devices: {error}; {how}") from error

    def exchange(
        indata: NDArray[np.float32], outdata: NDArray[np.float32], _frames: int, _time: Any, _status: Any
    ) -> None:
        microphone.put(indata[:, 0].copy())
        while microphone.qsize() > MAX_WAITING:
            microphone.get_nowait()
        speaker.fill(outdata[:, 0])

    def number_or_name(device: str | None) -> int | str | None:
        return int(device) if device is not None and device.isdigit() else device

    try:
        return sounddevice.Stream(
            samplerate=SAMPLE_RATE,
            blocksize=FRAME_SAMPLES,
            channels=1,
            dtype="float32",
            latency="low",
            device=(number_or_name(input_device), number_or_name(output_device)),
            callback=exchange,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise RustymoshiError(f"cannot open the audio devices: {error}; see `python -m sounddevice`") from error


def converse(
    session: StreamingSession,
    input_device: str | None,
    output_device: str | None,
    seconds: float | None,
    say: Callable[[str], None],
) -> None:
    """Talk until Ctrl-C, or for `seconds`; `say` gets the agent's words as they come."""
    microphone: queue.SimpleQueue[NDArray[np.float32]] = queue.SimpleQueue()
    speaker = Speaker()
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    with open_streams(microphone, speaker, input_device, output_device):
        try:
            while time.monotonic() < end:
                try:
                    heard = microphone.get(timeout=1.0)
                except queue.Empty:
                    continue
                pcm, text = session.step(heard)
                if len(pcm):
                    speaker.add(pcm)
                if text:
                    say(text)
        except KeyboardInterrupt:
            return
