"""Mimi beside PyPI `rustymimi`, frame by frame in one run, on one thread each.

    .venv/bin/pip install rustymimi==0.4.1
    target/release/moshi-backend make-random /tmp/mimi --shape published-mimi
    .venv/bin/python benches/mimi_vs_rustymimi.py /tmp/mimi/mimi.safetensors

Both read the same file of the published format and size and take turns, so that what else the machine does weighs on
both. Prints the median and the spread of the time of one 80 ms frame, encoded and decoded.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # read by rustymimi's kernels when they start

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import rustymimi
import rustymoshi

WARM_UP = 10


def milliseconds(call: Callable[..., object], *args: object) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call(*args)
    return 1e3 * (time.perf_counter() - start)


def measure(path: str, frames: int) -> dict[str, list[float]]:
    """Times of each frame for both, encode and decode, taken in turns."""
    ours = rustymoshi.Mimi.load(path, num_codebooks=8, threads=1).stream()
    theirs = rustymimi.Tokenizer(path, num_codebooks=8)
    noise = np.random.default_rng(0).normal(0, 0.1, (frames + WARM_UP, 1_920)).astype(np.float32)
    codes = np.random.default_rng(1).integers(0, 2_048, (frames + WARM_UP, 8, 1))
    names = [f"{what} {who}" for what in ("encode", "decode") for who in ("ours", "theirs")]
    times: dict[str, list[float]] = {name: [] for name in names}
    for pcm, code in zip(noise, codes, strict=True):
        times["encode ours"].append(milliseconds(ours.encode_step, pcm))
        times["encode theirs"].append(milliseconds(theirs.encode_step, pcm[None, None]))
        times["decode ours"].append(milliseconds(ours.decode_step, code))
        times["decode theirs"].append(milliseconds(theirs.decode_step, code[None].astype(np.uint32)))
    return {name: values[WARM_UP:] for name, values in times.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="a Mimi file of the published format")
    parser.add_argument("--frames", type=int, default=100)
    args = parser.parse_args()
    times = measure(args.path, args.frames)
    for what in ("encode", "decode"):
        ours, theirs = (sorted(times[f"{what} {who}"]) for who in ("ours", "theirs"))
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"{what}: rustymoshi {spread(ours)}, rustymimi {spread(theirs)}: {ratio:.2f} times as fast")
    median = {name: statistics.median(values) for name, values in times.items()}
    both = [median[f"encode {who}"] + median[f"decode {who}"] for who in ("ours", "theirs")]
    print(f"one frame: rustymoshi {both[0]:.2f} ms, rustymimi {both[1]:.2f} ms: {both[1] / both[0]:.2f} times as fast")


def spread(times: list[float]) -> str:
    """Median with the 10th and 90th percentile."""
    tenth = max(1, len(times) // 10)
    return f"{statistics.median(times):.2f} ms ({times[tenth]:.2f} to {times[-tenth]:.2f})"


if __name__ == "__main__":
    main()
