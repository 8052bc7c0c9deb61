"""Types of the native module; `tests/python/test_stubs.py` holds them against the module itself."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, SupportsIndex, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FRAME_SAMPLES",
    "SAMPLE_RATE",
    "SAVED_ENDINGS",
    "SESSION_PARAMETERS",
    "Heard",
    "Lm",
    "Mimi",
    "MimiStream",
    "Model",
    "RustymoshiError",
    "Speech",
    "SpokenWord",
    "StreamingSession",
    "SynthesisSession",
    "Transcript",
    "TranscriptionSession",
    "Translation",
    "Word",
    "__version__",
    "load_audio",
    "save_audio",
]

__version__: str
SAMPLE_RATE: int
FRAME_SAMPLES: int
SAVED_ENDINGS: list[str]

_Pcm: TypeAlias = NDArray[np.float32]
_Codes: TypeAlias = NDArray[np.integer[Any]]
_Path: TypeAlias = str | PathLike[str]
_Tokens: TypeAlias = NDArray[np.integer[Any]] | Sequence[SupportsIndex]

class RustymoshiError(RuntimeError): ...

def load_audio(path: str | PathLike[str]) -> _Pcm: ...
def save_audio(path: str | PathLike[str], pcm: _Pcm) -> None: ...

@final
class Mimi:
    @staticmethod
    def load(
        path: str | PathLike[str],
        num_codebooks: int = 8,
        *,
        dtype: str | None = None,
        threads: int | None = None,
        revision: str | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Mimi: ...
    def encode(self, pcm: _Pcm) -> NDArray[np.int32]: ...
    def decode(self, codes: _Codes) -> _Pcm: ...
    def stream(self) -> MimiStream: ...
    @property
    def num_codebooks(self) -> int: ...
    @property
    def bins(self) -> int: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def frame_samples(self) -> int: ...

@final
class MimiStream:
    def encode_step(self, pcm: _Pcm) -> NDArray[np.int32]: ...
    def decode_step(self, codes: _Codes) -> _Pcm: ...
    def reset(self) -> None: ...

@final
class Model:
    @staticmethod
    def load(
        path_or_repo: str | PathLike[str],
        device: str = "auto",
        dtype: str | None = None,
        *,
        quantize: str | None = None,
        exact: bool = False,
        threads: int | None = None,
        revision: str | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        lora: _Path | Sequence[_Path] | None = None,
    ) -> Model: ...
    @staticmethod
    def default(device: str = "auto", *, threads: int | None = None) -> Model: ...
    def session(
        self,
        *,
        seed: SupportsIndex | None = 0,
        temperature: float | None = None,
        top_k: SupportsIndex | None = None,
        text_temperature: float | None = None,
        text_top_k: SupportsIndex | None = None,
        top_p: float | None = None,
        pad_mult: float | None = None,
        repetition_penalty: float | None = None,
        repetition_context: SupportsIndex | None = None,
        role: str | None = None,
        voice: _Path | None = None,
        lora: _Path | None = None,
        cfg: float | None = None,
        watch: _Tokens | None = None,
    ) -> StreamingSession: ...
    def synthesize(
        self,
        script: str | Sequence[tuple[int, str]],
        voice: _Path | Sequence[_Path] | _Pcm | None = None,
        cfg: float | None = None,
        seed: SupportsIndex | None = 0,
        temperature: float | None = 0.6,
        text_temperature: float | None = 0.6,
        padding_between: SupportsIndex = 1,
        num_codebooks: SupportsIndex | None = None,
    ) -> Speech: ...
    def synthesis(
        self,
        voice: _Path | Sequence[_Path] | _Pcm | None = None,
        cfg: float | None = None,
        seed: SupportsIndex | None = 0,
        temperature: float | None = 0.6,
        text_temperature: float | None = 0.6,
        padding_between: SupportsIndex = 1,
        num_codebooks: SupportsIndex | None = None,
    ) -> SynthesisSession: ...
    def transcribe(
        self,
        audio_or_path: _Pcm | _Path,
        *,
        progress: Callable[[float, float | None, list[Word]], None] | None = None,
    ) -> Transcript: ...
    def transcription(self) -> TranscriptionSession: ...
    def translate(
        self,
        audio_or_path: _Pcm | _Path,
        *,
        seed: SupportsIndex | None = 0,
        temperature: float | None = None,
        text_temperature: float | None = None,
        cfg: float | None = None,
        progress: Callable[[float, float | None, str], None] | None = None,
    ) -> Translation: ...
    @property
    def kind(self) -> str: ...
    @property
    def lm(self) -> Lm: ...
    @property
    def mimi(self) -> Mimi: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def notice(self) -> str | None: ...

# What a session's numbers are: (name, name in a query, help), (low, high, whole, default), (label, low, high, step).
SESSION_PARAMETERS: list[tuple[tuple[str, str, str], tuple[float, float, bool, float], tuple[str, float, float, float]]]

@final
class Lm:
    def forward(
        self, codes: _Codes, *, lora: _Path | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...

@final
class StreamingSession:
    def step(self, pcm: _Pcm) -> tuple[_Pcm, str]: ...
    def step_codes(self, user_codes: _Codes | Sequence[int]) -> NDArray[np.int32] | None: ...
    def finish(self) -> tuple[_Pcm, str]: ...
    def say(self, text: str, when: Literal["now", "quiet"] = "now") -> None: ...
    def force(self, text_tokens: _Tokens | None = None, codes: _Codes | None = None) -> None: ...
    def add(self, vectors: _Pcm) -> None: ...
    def take_events(self) -> list[tuple[int, int]]: ...
    def fork(self) -> StreamingSession: ...
    def reset(self) -> None: ...

@final
class Word:
    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def stop(self) -> float: ...

@final
class Transcript:
    @property
    def text(self) -> str: ...
    @property
    def words(self) -> list[Word]: ...
    def srt(self) -> str: ...
    def vtt(self) -> str: ...

@final
class Heard:
    @property
    def text(self) -> str: ...
    @property
    def words(self) -> list[Word]: ...
    @property
    def pause(self) -> bool: ...
    @property
    def tokens(self) -> NDArray[np.int32]: ...
    @property
    def heads(self) -> NDArray[np.float32]: ...

@final
class TranscriptionSession:
    def step(self, pcm: _Pcm) -> Heard: ...
    def step_codes(self, codes: _Codes | Sequence[int]) -> Heard: ...
    def finish(self) -> Heard: ...
    def reset(self) -> None: ...

@final
class Translation:
    @property
    def pcm(self) -> _Pcm: ...
    @property
    def text(self) -> str: ...

@final
class SpokenWord:
    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...

@final
class Speech:
    @property
    def pcm(self) -> _Pcm: ...
    @property
    def words(self) -> list[SpokenWord]: ...
    @property
    def tokens(self) -> NDArray[np.int32]: ...

@final
class SynthesisSession:
    def push(self, text: str, speaker: SupportsIndex = 0) -> None: ...
    def finish(self) -> None: ...
    def step(self) -> tuple[_Pcm, list[SpokenWord]] | None: ...
    def close(self) -> None: ...
    def __iter__(self) -> SynthesisSession: ...
    def __next__(self) -> tuple[_Pcm, list[SpokenWord]]: ...
    def __enter__(self) -> SynthesisSession: ...
    def __exit__(self, *_raised: object) -> None: ...
