"""Talk with Moshi: full-duplex speech models in real time, on a Rust core.

>>> import numpy as np, rustymoshi
>>> session = rustymoshi.Model.default().session(seed=1)
>>> pcm, text = session.step(np.zeros(1920, dtype=np.float32))  # 80 ms in, what is ready out (at first nothing)
"""

from rustymoshi._native import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    SAVED_ENDINGS,
    Heard,
    Lm,
    Mimi,
    MimiStream,
    Model,
    RustymoshiError,
    Speech,
    SpokenWord,
    StreamingSession,
    SynthesisSession,
    Transcript,
    TranscriptionSession,
    Translation,
    Word,
    __version__,
    load_audio,
    save_audio,
)
from rustymoshi.answer import Answer

__all__ = [
    "FRAME_SAMPLES",
    "SAMPLE_RATE",
    "SAVED_ENDINGS",
    "Answer",
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
