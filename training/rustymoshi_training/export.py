"""The published file layout from checkpoints: `python -m rustymoshi_training.export [--int8] [--out FOLDER]`.

Writes config.json, model.safetensors (bf16, or int8 with `_scb` row scales), mimi.safetensors, mimi_config.json,
tokenizer.model, MODEL_CARD.md, an empty NOTICE.txt and curves.png, by default to `export/` in the training folder,
replaced in one move.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from . import curves
from .checkpoints import load_codec, load_lm
from .codec import Codec, CodecConfig
from .lm import Lm, LmConfig
from .paths import folder, root
from .tokens import scrubbed

EMBEDDINGS = ("emb.", "text_emb.", "depformer_emb.", "depformer_text_emb.")


def codec_tensors(codec: Codec) -> dict[str, torch.Tensor]:
    """Published names to tensors; bf16-rounded values but for codebooks, which decide codes and stay f32."""
    out = {}
    for name, tensor in codec.state_dict().items():
        out[name] = tensor.float() if "_codebook" in name else tensor.bfloat16()
    return {k: v.contiguous() for k, v in out.items()}


def lm_tensors(lm: Lm, int8: bool, tables: bool = False) -> dict[str, torch.Tensor]:
    """Published names to tensors; with `int8` linear weights [out, in] as int8 rows and `<name>_scb`, with `tables` the
    embeddings as well."""
    out = {}
    for name, tensor in lm.state_dict().items():
        tensor = tensor.float()
        if not int8 or tensor.dim() != 2 or (name.startswith(EMBEDDINGS) and not tables):
            out[name] = tensor.bfloat16().contiguous()
            continue
        scale = tensor.abs().amax(1).clamp(min=1e-8)
        out[name] = (tensor * (127 / scale[:, None])).round().clamp(-127, 127).to(torch.int8).contiguous()
        out[name + "_scb"] = scale.contiguous()
    return out


def dequantized(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tensors as f32, int8 rows multiplied out."""
    out = {}
    for name, tensor in tensors.items():
        if name.endswith("_scb"):
            continue
        out[name] = (
            tensor.float() * tensors[name + "_scb"][:, None] / 127 if tensor.dtype == torch.int8 else tensor.float()
        )
    return out


def load_exported(path: Path) -> tuple[Lm, Codec]:
    """Read an exported folder back, as a runtime would."""
    c, m = json.loads((path / "config.json").read_text()), json.loads((path / "mimi_config.json").read_text())
    lm = Lm(
        LmConfig(
            dim=c["dim"],
            heads=c["num_heads"],
            layers=c["num_layers"],
            hidden_scale=c["hidden_scale"],
            context=c["context"],
            text_card=c["text_card"],
            card=c["card"],
            n_q=c["n_q"],
            dep_q=c["dep_q"],
            depth_dim=c["depformer_dim"],
            depth_heads=c["depformer_num_heads"],
            depth_layers=c["depformer_num_layers"],
            depth_feedforward=c["depformer_dim_feedforward"],
            delays=tuple(c["delays"]),
        )
    )
    lm.load_state_dict(dequantized(load_file(path / c["moshi_name"])))
    s, t, q = m["seanet"], m["transformer"], m["quantizer"]
    codec = Codec(
        CodecConfig(
            n_filters=s["n_filters"],
            dim=s["dimension"],
            ratios=tuple(s["ratios"]),
            layers=t["num_layers"],
            heads=t["num_heads"],
            feedforward=t["dim_feedforward"],
            context=t["context"],
            codebooks=q["n_q"],
            bins=q["bins"],
            codebook_dim=q["dimension"],
        )
    )
    codec.load_state_dict({k: v.float() for k, v in load_file(path / c["mimi_name"]).items()})
    return lm.eval(), codec.eval()


def write(out: Path, lm: Lm, codec: Codec, int8: bool, tables: bool = False) -> None:
    """Write the folder; an older one of that name is replaced once everything is there."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "config.json").write_text(json.dumps(lm.config.published(), indent=1) + "\n")
    (part / "mimi_config.json").write_text(json.dumps(codec.config.published(), indent=1) + "\n")
    save_file(lm_tensors(lm, int8, tables), part / "model.safetensors")
    save_file(codec_tensors(codec), part / "mimi.safetensors")
    (part / "tokenizer.model").write_bytes(scrubbed((folder("text") / "tokenizer.model").read_bytes()))
    shutil.copy(Path(__file__).parent / "MODEL_CARD.md", part / "MODEL_CARD.md")
    (part / "NOTICE.txt").touch()  # what users are told at the start: nothing
    paths = sorted(folder("curves").glob("*.csv"))
    if paths:
        curves.draw(paths, part / "curves.png")
    load_exported(part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lm", default="lm")
    parser.add_argument("--codec", default="codec_frozen")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--int8-tables", action="store_true", help="with --int8: embeddings too")
    parser.add_argument("--out", type=Path, default=root() / "export")
    args = parser.parse_args()
    if args.int8_tables and not args.int8:
        parser.error("--int8-tables goes with --int8")
    write(args.out, load_lm(args.lm), load_codec(args.codec), args.int8, args.int8_tables)
    size = sum(f.stat().st_size for f in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
