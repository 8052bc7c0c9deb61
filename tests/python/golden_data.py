"""Where the golden data is, and one golden repository with its results and its model."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rustymoshi
from safetensors.numpy import load_file

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
AUDIO = Path(__file__).parents[1] / "fixtures" / "audio"


class Golden:
    """One golden repository: its folder, its results, its model."""

    def __init__(self, name: str, **options: Any) -> None:
        self.folder = GOLDEN / name
        self.tensors: dict[str, np.ndarray] = load_file(self.folder / "golden.safetensors")
        self.model = rustymoshi.Model.load(self.folder, exact=True, **options)

    @cached_property
    def mimi(self) -> rustymoshi.Mimi:
        """The codec alone, in single precision."""
        return rustymoshi.Mimi.load(self.folder / "mimi.safetensors", num_codebooks=8, dtype="f32")

    @property
    def meta(self) -> dict[str, Any]:
        """Texts, words and options of the results."""
        meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        return meta

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]
