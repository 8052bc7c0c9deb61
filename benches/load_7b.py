"""How long a real int8 file of Moshi 7B's size takes to load, and how much memory it stays in.

    target/release/moshi-backend make-random /tmp/7b --shape published-mimi
    python3 benches/load_7b.py /tmp/7b             # writes 8.2 GB of random weights, once
    python3 benches/load_7b.py /tmp/7b --measure   # reads the file once, then `moshi-backend bench --model /tmp/7b`

The model is loaded three times, one run right after the other. A virtual machine may have given memory that nobody
uses back to its host; then the first load waits for the host at every new page, and the others have that memory at
hand, as on a machine of one's own.

The file is the PyTorch package's int8 layout in published sizes: the names of the tiny golden file with more layers.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
TINY = TREE / "tests/fixtures/golden/tiny-moshi"
# Keys of config.json that differ from the tiny model's.
SIZES = {
    "dim": 4096, "num_heads": 32, "num_layers": 32, "card": 2048, "text_card": 32_000, "context": 3000,
    "depformer_dim": 1024, "depformer_dim_feedforward": 4224, "depformer_num_heads": 16, "depformer_num_layers": 6,
}  # fmt: skip
STEPS = 8
Tensors = dict[str, tuple[str, tuple[int, ...]]]


def block(prefix: str, width: int, hidden: int, steps: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, number format and shape of a transformer layer's tensors."""
    for norm in ("norm1", "norm2"):
        yield f"{prefix}.{norm}.alpha", "BF16", (1, 1, width)
    yield f"{prefix}.self_attn.in_proj_weight", "I8", (steps * 3 * width, width)
    yield f"{prefix}.self_attn.out_proj.weight", "I8", (steps * width, width)
    for gate in [f"{prefix}.gating.{k}" for k in range(steps)] if steps > 1 else [f"{prefix}.gating"]:
        yield f"{gate}.linear_in.weight", "I8", (2 * hidden, width)
        yield f"{gate}.linear_out.weight", "I8", (width, hidden)


def tensors(config: dict) -> Tensors:
    """All tensors of a language model."""
    width, depth, card, words = (config[key] for key in ("dim", "depformer_dim", "card", "text_card"))
    hidden, depth_hidden = int(width * config["hidden_scale"]) * 2 // 3, config["depformer_dim_feedforward"] * 2 // 3
    every = [("text_emb.weight", "BF16", (words + 1, width)), ("text_linear.weight", "I8", (words, width))]
    every += [(f"emb.{i}.weight", "BF16", (card + 1, width)) for i in range(config["n_q"])]
    every += [("out_norm.alpha", "BF16", (1, 1, width)), ("depformer_text_emb.weight", "BF16", (words + 1, depth))]
    every += [(f"depformer_emb.{k}.weight", "BF16", (card + 1, depth)) for k in range(STEPS - 1)]
    every += [(f"depformer_in.{k}.weight", "I8", (depth, width)) for k in range(STEPS)]
    every += [(f"linears.{k}.weight", "I8", (card, depth)) for k in range(STEPS)]
    for i in range(config["num_layers"]):
        every += block(f"transformer.layers.{i}", width, hidden, 1)
    for i in range(config["depformer_num_layers"]):
        every += block(f"depformer.layers.{i}", depth, depth_hidden, STEPS)
    scales = [(f"{name}_scb", "F32", shape[:1]) for name, kind, shape in every if kind == "I8"]
    return {name: (kind, shape) for name, kind, shape in every + scales}


def check_names() -> None:
    """The same rules must give the tiny golden file's names and shapes."""
    with (TINY / "model.torch.q8.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    found = {name: tuple(entry["shape"]) for name, entry in header.items()}
    expected = {name: shape for name, (_, shape) in tensors(json.loads((TINY / "config.json").read_text())).items()}
    if found != expected:
        raise SystemExit(f"the golden file has other tensors: {sorted(set(found.items()) ^ set(expected.items()))[:6]}")


def write_model(path: Path, config: dict) -> None:
    """Random integers; scales that keep signals their size."""
    size = {"F32": 4, "BF16": 2, "I8": 1}
    entries, at = {}, 0
    ordered = sorted(tensors(config).items(), key=lambda item: (-size[item[1][0]], item[0]))
    for name, (kind, shape) in ordered:
        end = at + math.prod(shape) * size[kind]
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    integers = random.Random(1).randbytes(16 << 20)
    # 0.0 to 0.5 and their negatives: the exponent's byte never is that of an infinity.
    halves = bytes(b if i % 2 == 0 else b & 0x80 | 0x3E for i, b in enumerate(integers[: 1 << 20]))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, (kind, shape) in ordered:
            left = math.prod(shape) * size[kind]
            inputs = tensors_inputs(name, config)
            scale = struct.pack("<f", math.sqrt(3 / inputs))
            source = {"F32": scale * 4096, "BF16": halves, "I8": integers}[kind]
            while left > 0:
                left -= file.write(source[:left])


def tensors_inputs(name: str, config: dict) -> int:
    """Inputs of the matrix that a row scale belongs to."""
    return config["depformer_dim"] if name.startswith(("depformer.", "linears.")) else config["dim"]


def tokenizer(count: int) -> bytes:
    """The tiny model's SentencePiece file with as many more pieces as Moshi 7B has: fields of a message may follow."""
    first = json.loads((TINY / "config.json").read_text())["text_card"]
    pieces = [(TINY / "tokenizer.model").read_bytes()]
    for i in range(first, count):
        text = f"piece{i}".encode()
        body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -20.0)
        pieces.append(b"\x0a" + bytes([len(body)]) + body)
    return b"".join(pieces)


def write(folder: Path) -> None:
    check_names()
    config = json.loads((TINY / "config.json").read_text()) | SIZES | {"quantize": True}
    config.pop("mimi_config_name")  # the published codec
    (folder / "tokenizer.model").write_bytes(tokenizer(SIZES["text_card"]))
    write_model(folder / "model.safetensors", config)
    (folder / "config.json").write_text(json.dumps(config))


def measure(binary: Path, folder: Path) -> None:
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            while part := file.read(16 << 20):
                total += len(part)
    print(f"files            {total / 1e9:.2f} GB", flush=True)
    for _ in range(3):
        subprocess.run([binary, "bench", "--model", folder, "--frames", "10"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with mimi.safetensors in it")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--binary", type=Path, default=TREE / "target/release/moshi-backend")
    args = parser.parse_args()
    if args.measure:
        measure(args.binary, args.folder)
    else:
        write(args.folder)


if __name__ == "__main__":
    main()
