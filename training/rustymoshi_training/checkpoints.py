"""Reading trained models back."""

from pathlib import Path

import torch

from .codec import Codec, CodecConfig
from .lm import Lm, LmConfig
from .paths import folder


def load_codec(name: str = "codec") -> Codec:
    """The codec of a training checkpoint, ready to encode and decode."""
    return codec_of(torch.load(_path(name), map_location="cpu", weights_only=True)["codec"]).eval()


def codec_of(state: dict[str, torch.Tensor]) -> Codec:
    """The codec with these tensors, which tell how large its codebooks are."""
    codec = Codec(CodecConfig(bins=len(state["quantizer.rvq_first.vq.layers.0._codebook.cluster_usage"])))
    codec.load_state_dict(state)
    return codec


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
