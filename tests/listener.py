"""Hears which of a few sentences a voice says: PocketSphinx, whose English model is part of its package."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from pocketsphinx import Decoder

RATE = 16_000


def plain(text: str) -> str:
    """Lower-case words without punctuation."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


class Listener:
    """Knows the sentences it may hear.

    >>> Listener(["My name is Robin.", "The sky is blue."]).hear(pcm, rate=24_000)
    'my name is robin'
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.decoder = Decoder(samprate=RATE, loglevel="FATAL")
        choices = " | ".join(plain(sentence) for sentence in sentences)
        self.decoder.add_jsgf_string("sentences", f"#JSGF V1.0; grammar sentences; public <sentence> = {choices};")
        self.decoder.activate_search("sentences")

    def hear(self, pcm: np.ndarray, rate: int) -> str:
        """The sentence said in `pcm` [samples, -1 to 1], or an empty string."""
        at = np.arange(0, len(pcm), rate / RATE)
        samples = np.interp(at, np.arange(len(pcm)), np.clip(pcm, -1, 1)) * 32_767
        self.decoder.start_utt()
        self.decoder.process_raw(samples.astype("<i2").tobytes(), full_utt=True)
        self.decoder.end_utt()
        heard = self.decoder.hyp()
        return heard.hypstr if heard else ""


def voiced(pcm: np.ndarray, rate: int, quiet: float = 0.006) -> np.ndarray:
    """From the first to the last 20 ms above `quiet` (RMS), with a quarter of a second around; empty without any."""
    block = rate // 50
    level = np.sqrt(np.square(pcm[: len(pcm) // block * block].reshape(-1, block)).mean(1))
    loud = np.flatnonzero(level > quiet)
    if not len(loud):
        return pcm[:0]
    return pcm[max(0, loud[0] * block - rate // 4) : (loud[-1] + 1) * block + rate // 4]
