"""Where the golden data is, and one golden repository with its results and its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rustymoshi
from safetensors.numpy import load_file

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
AUDIO = Path(__file__).parents[1] / "fixtures" / "audio"


class Golden:
    """One golden repository: its folder, its results, its model."""

    def __init__(self, name: str) -> None:
        self.folder = GOLDEN / name
        self.tensors: dict[str, np.ndarray] = load_file(self.folder / "golden.safetensors")
        self.model = rustymoshi.Model.load(self.folder, exact=True)
        self.mimi = rustymoshi.Mimi.load(self.folder / "mimi.safetensors", num_codebooks=8, dtype="f32")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]
