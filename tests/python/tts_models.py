"""The three golden models that read aloud, and what each run of the reference read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import rustymoshi
from golden_data import GOLDEN
from safetensors.numpy import load_file

TTS = GOLDEN / "tiny-tts"
RUNS: dict[str, dict[str, Any]] = json.loads((TTS / "meta.json").read_text())["runs"]
GREEDY = {"temperature": 0.0, "text_temperature": 0.0}


def folder_of(config: str, parent: Path) -> Path:
    """A repository of its own with that configuration as its config.json."""
    folder = parent / config.removesuffix(".json")
    shutil.copytree(TTS, folder)
    shutil.copy(TTS / config, folder / "config.json")
    return folder


class Readers:
    """Models by configuration, loaded once, and the results."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._models: dict[str, rustymoshi.Model] = {}
        self.results: dict[str, np.ndarray] = load_file(TTS / "golden.safetensors")

    def model(self, run: str) -> rustymoshi.Model:
        """The model of a run."""
        config = RUNS[run]["config"]
        if config not in self._models:
            self._models[config] = rustymoshi.Model.load(folder_of(config, self._parent), exact=True)
        return self._models[config]

    def options(self, run: str) -> dict[str, Any]:
        """The arguments of a run, but for its script."""
        meta = RUNS[run]
        voices = [TTS / voice for voice in meta["voices"]]
        return {
            **GREEDY,
            "voice": voices if len(voices) > 1 else voices[0],
            "cfg": meta["cfg"],
            "padding_between": meta["padding_between"],
            "num_codebooks": None if meta["n_q"] == 8 else meta["n_q"],
        }


def script(run: str) -> list[tuple[int, str]]:
    """The turns of a run."""
    return list(enumerate(RUNS[run]["script"]))


def assert_words(run: str, words: list[rustymoshi.SpokenWord]) -> None:
    """The words of the reference, at its times within a millisecond."""
    expected = RUNS[run]["words"]
    assert [word.text for word in words] == [word["text"] for word in expected]
    np.testing.assert_allclose([word.start for word in words], [word["start"] for word in expected], atol=1e-3)
