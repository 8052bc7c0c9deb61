"""Conversations and lines to codes with a frozen codec: `python -m rustymoshi_training.encode --codec codec_frozen`.

Writes `codes/<codec>/<shard>.npz` (user and agent [8, frames] as int16) of conversations and
`lines/<codec>/<shard>.<take>.npz` (codes [8, frames]) of lines, which are behind another room, microphone and noise in
each of their takes; existing shards are skipped, so it can follow those who make them. Several may share the work:
`--part 0 --parts 2` and `--part 1 --parts 2`. Where the package itself is installed its codec does the work: faster
than PyTorch on a CPU, and the codes are those that the model will hear in a conversation (bf16 autocast changes a tenth
of them).
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from . import augment
from .checkpoints import load_codec
from .codec import Codec
from .export import codec_tensors
from .lm import LmConfig
from .paths import FRAME, folder, replace_atomically

CHUNK = 250
OVERLAP = 50


@torch.no_grad()
def encode(codec: Codec, samples: np.ndarray) -> np.ndarray:
    """int16 samples (whole frames) -> codes [8, frames]; long inputs in overlapping chunks."""
    frames = len(samples) // FRAME
    out = np.zeros((codec.config.codebooks, frames), np.int16)
    for start in range(0, frames, CHUNK):
        from_frame, to_frame = max(0, start - OVERLAP), min(frames, start + CHUNK)
        pcm = torch.from_numpy(samples[from_frame * FRAME : to_frame * FRAME].astype(np.float32) / 32768)[None, None]
        with torch.autocast("cpu", torch.bfloat16):
            latent = codec.latent(pcm)
        codes = codec.quantizer.encode(latent.float())[0].numpy()
        out[:, start:to_frame] = codes[:, start - from_frame :]
    return out


def encoder(codec: Codec) -> Callable[[np.ndarray], np.ndarray]:
    """int16 samples -> codes [8, frames]: by the package's codec where it is installed, else by PyTorch."""
    if importlib.util.find_spec("rustymoshi._native") is None:
        return lambda samples: encode(codec, samples)
    from rustymoshi import Mimi

    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "config.json").write_text(json.dumps(LmConfig(card=codec.config.bins).published()))
        (path / "mimi_config.json").write_text(json.dumps(codec.config.published()))
        save_file(codec_tensors(codec), path / "mimi.safetensors")
        mimi = Mimi.load(path, dtype="f32")
    return lambda samples: np.asarray(mimi.encode(samples.astype(np.float32) / 32768)).astype(np.int16)


def encode_shard(to_codes: Callable[[np.ndarray], np.ndarray], source: Path, target: Path) -> None:
    """Both channels of one shard of conversations, as streams over all of them; or one take of a shard of lines, each
    line on its own behind a microphone."""
    if source.suffix == ".npz":
        data = np.load(source)
        arrays = {name: to_codes(data[name]) for name in ("user", "agent")}
    else:
        ends = np.cumsum([line["frames"] * FRAME for line in json.loads(source.with_suffix(".json").read_text())])
        rng = np.random.default_rng([int(part) for part in target.stem.split(".")])
        heard = (augment.line(part.astype(np.float32) / 32767, rng) for part in np.split(np.load(source), ends[:-1]))
        codes = [to_codes(np.round(wav * 32767).astype(np.int16)) for wav in heard]
        arrays = {"codes": np.concatenate(codes, 1).astype(np.int16)}

    def write(part):
        with open(part, "wb") as file:
            np.savez(file, **arrays)

    replace_atomically(target, write)


def work(codec: str, takes: int, most: int | None = None) -> list[tuple[Path, Path]]:
    """All shards (or `most` of each kind) that are not encoded yet: (sound, codes); each line once before any twice."""
    talks = sorted(folder("dialogues").glob("*.npz"))[:most]
    conversations = [(p, folder("codes", codec) / p.name) for p in talks]
    spoken = sorted(folder("lines").glob("*.npy"))[:most]
    lines = [(p, folder("lines", codec) / f"{p.stem}.{take}.npz") for take in range(takes) for p in spoken]
    return [(source, target) for source, target in conversations + lines if not target.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", default="codec_frozen")
    parser.add_argument("--follow", type=float, default=0, help="minutes to go on looking for new shards")
    parser.add_argument("--takes", type=int, default=1, help="how often every line is put behind a microphone")
    parser.add_argument("--most", type=int, default=0, help="only so many shards of conversations and of lines")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    to_codes, until = encoder(load_codec(args.codec)), time.monotonic() + args.follow * 60
    while True:
        todo = [
            pair
            for pair in work(args.codec, args.takes, args.most or None)
            if int(pair[0].stem) % args.parts == args.part
        ]
        for source, target in tqdm(todo, desc="encode", unit="shard", mininterval=5):
            encode_shard(to_codes, source, target)
        if time.monotonic() > until:
            return
        time.sleep(5)


if __name__ == "__main__":
    main()
