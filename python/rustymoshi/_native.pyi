"""Types of the native module; `tests/python/test_stubs.py` holds them against the module itself."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, SupportsIndex, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FRAME_SAMPLES",
    "SAMPLE_RATE",
    "SAVED_ENDINGS",
    "Lm",
    "Mimi",
    "MimiStream",
    "Model",
    "RustymoshiError",
    "StreamingSession",
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
    ) -> StreamingSession: ...
    @property
    def lm(self) -> Lm: ...
    @property
    def mimi(self) -> Mimi: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def notice(self) -> str | None: ...

@final
class Lm:
    def forward(self, codes: _Codes) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...

@final
class StreamingSession:
    def step(self, pcm: _Pcm) -> tuple[_Pcm, str]: ...
    def step_codes(self, user_codes: _Codes | Sequence[int]) -> NDArray[np.int32] | None: ...
    def fork(self) -> StreamingSession: ...
    def reset(self) -> None: ...
