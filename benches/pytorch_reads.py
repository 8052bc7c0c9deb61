"""What the published PyTorch package makes of a checkpoint that `moshi-backend quantize` or `convert` wrote.

    PYTHON=python3  # with PyPI's moshi and, for q8-rows, bitsandbytes
    target/release/moshi-backend quantize tests/fixtures/golden/tiny-moshi /tmp/q8 --type q8-rows
    $PYTHON benches/pytorch_reads.py /tmp/q8

Loads the folder with the package's own loader and prints the cosine between its teacher-forced logits and the golden
ones, which are those of the unrounded checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from moshi.models import loaders
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[1] / "tests/fixtures/golden/tiny-moshi/golden.safetensors"


def load(folder: Path) -> torch.nn.Module:
    mimi_config = folder / "mimi_config.json"
    info = loaders.CheckpointInfo.from_hf_repo(
        "none",
        moshi_weights=folder / "model.safetensors",
        mimi_weights=folder / "mimi.safetensors",
        tokenizer=folder / "tokenizer.model",
        config_path=folder / "config.json",
        mimi_config_path=mimi_config if mimi_config.exists() else None,
    )
    # In bf16 the loader would round the integers' scales too, and then refuse them.
    return info.get_moshi(device="cpu", dtype=torch.float32).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="+")
    golden = load_file(GOLDEN)
    for folder in parser.parse_args().folder:
        model = load(folder)
        linear = sorted({type(m).__name__ for m in model.modules() if type(m).__name__ in ("Linear", "QLinear")})
        with torch.no_grad():
            out = model(golden["tf_codes"].long()[None])
        inside = golden["tf_audio_mask"].bool()
        pairs = {
            "text": (out.text_logits.float().reshape(-1), golden["tf_text_logits"].reshape(-1)),
            "audio": (out.logits[0].float()[inside].reshape(-1), golden["tf_audio_logits"][inside].reshape(-1)),
        }
        for name, (found, expected) in pairs.items():
            known = ~torch.isnan(found)
            cosine = torch.nn.functional.cosine_similarity(found[known], expected[known], dim=0).item()
            print(f"{folder} {'+'.join(linear)} {name}: cosine {cosine:.6f}")


if __name__ == "__main__":
    main()
