"""Files that commands read and write; "-" is standard input or output."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import rustymoshi


def seconds_option(_context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """A length of time; `nan` and `inf` are numbers to Python, and none here."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds", param=parameter)
    return value


def output_option(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A place that can be written, found out before the model has worked for it."""
    path = Path(value)
    if value == "-":
        return value
    if path.suffix not in ("", ".") and path.suffix.lower() not in rustymoshi.SAVED_ENDINGS:
        known = " or ".join(rustymoshi.SAVED_ENDINGS)
        raise click.BadParameter(
            f"{value} ends in {path.suffix}, and only wav files are written; let it end in {known}", param=parameter
        )
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder {path.absolute().parent} is not there", param=parameter)
    if not path.exists() and not os.access(path.absolute().parent, os.W_OK):
        raise click.BadParameter(f"the folder {path.absolute().parent} cannot be written", param=parameter)
    return value


@contextmanager
def readable(name: str) -> Iterator[str]:
    """The file itself, or a temporary one with what comes from standard input."""
    if name != "-":
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield str(path)


def save(name: str, spoken: list[NDArray[np.float32]]) -> None:
    """Write what was said to a file, or to standard output."""
    pcm = np.clip(np.concatenate(spoken), -1.0, 1.0) if spoken else np.zeros(0, dtype=np.float32)
    if name != "-":
        rustymoshi.save_audio(name, pcm)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.wav"
        rustymoshi.save_audio(path, pcm)
        sys.stdout.buffer.write(path.read_bytes())
        sys.stdout.buffer.flush()
