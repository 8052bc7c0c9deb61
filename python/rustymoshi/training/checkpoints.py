"""Reading trained models back."""

import re
from dataclasses import replace
from pathlib import Path

import torch

from .codec import Codec, CodecConfig
from .lm import Lm, LmConfig
from .paths import folder


def load_codec(name: str = "codec") -> Codec:
    """The codec of a training checkpoint, ready to encode and decode."""
    state = torch.load(_path(name), map_location="cpu", weights_only=True)["codec"]
    codec = Codec(replace(CodecConfig(), layers=layers(state)))
    codec.load_state_dict(state)
    return codec.eval()


def layers(state: dict) -> int:
    """How many layers the transformers of a codec's state have."""
    return 1 + max(
        int(found[1]) for name in state if (found := re.match(r"encoder_transformer.*\.layers\.(\d+)", name))
    )


def deepened(state: dict, codec: Codec) -> dict:
    """A codec's state as that of `codec`, which may have more transformer layers: new ones add nothing at first."""
    fresh = {name: value for name, value in codec.state_dict().items() if name not in state}
    if unknown := [name for name in fresh if not re.search(r"_transformer\..*\.layers\.", name)]:
        raise ValueError(f"the checkpoint has no {unknown[0]}: it is of another codec; begin one under a new --name")
    return state | {name: value * 0 if "layer_scale" in name else value for name, value in fresh.items()}


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
