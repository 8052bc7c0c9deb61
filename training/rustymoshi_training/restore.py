"""Checkpoints back from an exported folder: `python -m rustymoshi_training.restore --folder models/default`.

So that the embedded model can be trained further where it was not made: codec (as `codec_frozen`: its codes are those
the language model knows), language model and tokenizer. The optimizer's state and the listening heads are not in an
exported folder; `lm_train` begins with the latter alone.
"""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from .export import load_exported
from .paths import folder, replace_atomically


def restore(exported: Path, lm: str, codec: str) -> None:
    """Write `checkpoints/<lm>.pt`, `checkpoints/<codec>.pt` and the tokenizer; nothing that exists is replaced."""
    tokenizer = folder("text") / "tokenizer.model"
    targets = [folder("checkpoints") / f"{name}.pt" for name in (lm, codec)]
    there = [str(path) for path in (*targets, tokenizer) if path.exists()]
    if there:
        raise FileExistsError(f"would replace {', '.join(there)}: move it away, or restore under other names")
    model, mimi = load_exported(exported)
    state = model.state_dict()
    made = (
        dict(lm=state, average=state, config=asdict(model.config), elapsed=0.0, step=0),
        dict(codec=mimi.state_dict()),
    )
    for path, content in zip(targets, made, strict=True):
        replace_atomically(path, lambda part, content=content: torch.save(content, part))
    shutil.copy(exported / "tokenizer.model", tokenizer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="config.json, mimi_config.json and their files")
    parser.add_argument("--lm", default="lm")
    parser.add_argument("--codec", default="codec_frozen")
    args = parser.parse_args()
    restore(args.folder, args.lm, args.codec)


if __name__ == "__main__":
    main()
