"""This machine's microphone and loudspeaker, frame by frame, with the package sounddevice (the extra `audio`)."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rustymoshi import FRAME_SAMPLES, SAMPLE_RATE, RustymoshiError, StreamingSession

#: Frames that may wait between the sound card and the model; beyond it the oldest is dropped, so that lag is bounded.
MAX_WAITING = 4
#: How often a sound card that gives nothing is opened.
MOST_IN_VAIN = 3
#: A frame without sound, as the sound card takes it: 32-bit floats.
SILENCE = bytes(4 * FRAME_SAMPLES)


class Line:
    """Frames on their way between the sound card and the model, as bytes: the callback of the card only moves them."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        #: Frames put in so far, and how many of them were dropped because too many waited.
        self.frames = 0
        self.dropped = 0

    def put(self, frame: bytes) -> None:
        """Queue a frame; beyond the limit the oldest is dropped and counted."""
        self._waiting.put(frame)
        self.frames += 1
        while self._waiting.qsize() > MAX_WAITING:
            if self.next() is not None:
                self.dropped += 1

    def next(self, seconds: float = 0.0) -> bytes | None:
        """The oldest frame, after waiting for one for so long; None where there is none."""
        try:
            return self._waiting.get(timeout=seconds) if seconds else self._waiting.get_nowait()
        except queue.Empty:
            return None


class Lost(NamedTuple):
    """Frames of 80 ms that were dropped in a conversation because the model came too late, and all there were."""

    heard: int
    said: int
    frames: int

    def __str__(self) -> str:
        """A sentence for the person who talked; empty when nothing was lost."""
        kinds = [(self.heard, "of what you said"), (self.said, "of the answer")]
        parts = [f"{count * FRAME_SAMPLES / SAMPLE_RATE:.1f} s {of}" for count, of in kinds if count]
        if not parts:
            return ""
        return (
            f"{' and '.join(parts)} were dropped in {self.frames * FRAME_SAMPLES / SAMPLE_RATE:.0f} s, because this "
            "machine is too slow for the model: try --quantize q4, more --threads or a smaller model"
        )


def open_device(kind: str, device: Any, callback: Callable[..., None] | None, latency: str) -> Any:
    """A stream of the package sounddevice at 24 kHz, a frame at a time."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        how = "`pip install sounddevice`, on Linux also PortAudio (`apt-get install libportaudio2`)"
        raise RustymoshiError(f"no audio devices: {error}; {how}") from error
    try:
        return getattr(sounddevice, kind)(
            samplerate=SAMPLE_RATE,
            blocksize=FRAME_SAMPLES,
            channels=1,
            dtype="float32",
            latency=latency,
            device=device,
            callback=callback,
        )
    except (sounddevice.PortAudioError, ValueError, OverflowError) as error:
        raise RustymoshiError(f"cannot open the audio devices: {error}; see `python -m sounddevice`") from error


def number_or_name(device: str | None) -> int | str | None:
    """A device as the package knows it."""
    return int(device) if device is not None and device.isdecimal() else device


def open_streams(microphone: Line, speaker: Line, input_device: str | None, output_device: str | None) -> Any:
    """A duplex stream whose callback only moves bytes."""

    def exchange(indata: Any, outdata: Any, _frames: int, _time: Any, _status: Any) -> None:
        microphone.put(bytes(indata))
        outdata[:] = speaker.next() or SILENCE

    devices = (number_or_name(input_device), number_or_name(output_device))
    return open_device("RawStream", devices, exchange, "low")


def microphone_frames(input_device: str | None, seconds: float | None) -> Iterator[NDArray[np.float32]]:
    """What the microphone hears, frame by frame, without end or for `seconds`; frames that are taken late wait."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def hear(indata: Any, _frames: int, _time: Any, _status: Any) -> None:
        waiting.put(bytes(indata))

    end = time.monotonic() + seconds if seconds is not None else float("inf")
    with open_device("RawInputStream", number_or_name(input_device), hear, "high") as stream:
        while time.monotonic() < end:
            try:
                frame = waiting.get(timeout=1.0)
            except queue.Empty:
                if not stream.active:
                    raise RustymoshiError("the microphone has stopped; see `python -m sounddevice`") from None
                continue
            yield np.frombuffer(frame, dtype=np.float32)


class Loudspeaker:
    """This machine's loudspeaker, which plays sound while more of it is made."""

    def __init__(self, device: str | None) -> None:
        self._stream = open_device("RawOutputStream", number_or_name(device), None, "high")
        self._playing = False

    def play(self, pcm: NDArray[np.float32]) -> None:
        """Queue samples at 24 kHz; waits while a second or so of them is to be played."""
        import sounddevice

        if len(pcm) == 0:
            return
        try:
            if not self._playing:
                self._stream.start()  # not before: an empty stream would begin with a crackle
                self._playing = True
            self._stream.write(pcm.tobytes())
        except sounddevice.PortAudioError as error:
            raise RustymoshiError(f"the loudspeaker has stopped: {error}; see `python -m sounddevice`") from error

    def __enter__(self) -> Loudspeaker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_raised: object) -> None:
        # Sound that is queued is played to its end, unless somebody does not want to hear it.
        if self._playing and kind is None:
            self._stream.stop()
        self._stream.close()


def converse(
    session: StreamingSession,
    input_device: str | None,
    output_device: str | None,
    seconds: float | None,
    say: Callable[[str], None],
) -> Lost:
    """Talk until Ctrl-C, or for `seconds`; `say` gets the agent's words as they come. Says what was lost.

    A sound card that stops, as some do when the machine was busy for too long, is opened again.
    """
    microphone, speaker = Line(), Line()
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    in_vain = 0
    try:
        while time.monotonic() < end:
            before = microphone.frames
            with open_streams(microphone, speaker, input_device, output_device) as stream:
                talk(session, microphone, speaker, lambda: time.monotonic() < end, lambda: bool(stream.active), say)
            in_vain = 0 if microphone.frames > before else in_vain + 1
            if in_vain == MOST_IN_VAIN:
                raise RustymoshiError("the audio devices give no sound; see `python -m sounddevice`")
    except KeyboardInterrupt:
        pass
    return Lost(microphone.dropped, speaker.dropped, microphone.frames)


def talk(
    session: StreamingSession,
    microphone: Line,
    speaker: Line,
    goes_on: Callable[[], bool],
    active: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """Step the session with what the microphone gives, until the time is over or the sound card has stopped."""
    while goes_on():
        heard = microphone.next(seconds=1.0)
        if heard is None:
            if not active():
                return
            continue
        pcm, text = session.step(np.frombuffer(heard, dtype=np.float32))
        for frame in pcm.reshape(-1, FRAME_SAMPLES):
            speaker.put(frame.tobytes())
        if text:
            say(text)
