"""Reading trained models back."""

from pathlib import Path

import torch

from .codec import Codec, CodecConfig
from .lm import Lm, LmConfig
from .paths import folder


def load_codec(name: str = "codec") -> Codec:
    """The codec of a training checkpoint, ready to encode and decode."""
    codec = Codec(CodecConfig())
    codec.load_state_dict(torch.load(_path(name), map_location="cpu", weights_only=True)["codec"])
    return codec.eval()


def load_lm(name: str = "lm") -> Lm:
    """The language model of a training checkpoint (its averaged weights)."""
    saved = torch.load(_path(name), map_location="cpu", weights_only=True)
    lm = Lm(LmConfig(**saved["config"]))
    lm.load_state_dict(saved["average"])
    return lm.eval()


def _path(name: str) -> Path:
    path = folder("checkpoints") / f"{name}.pt"
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint {path}: train it first (see the README of the training folder)")
    return path
