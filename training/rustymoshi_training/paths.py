"""Where data and checkpoints live: outside the source tree, in one folder that a later run resumes from."""

import os
from pathlib import Path

SAMPLE_RATE = 24_000
FRAME = 1_920
FRAME_RATE = 12.5
# How loud the agent speaks (RMS of the loud parts).
AGENT_LEVEL_DB = -22.0


def root() -> Path:
    """The training folder (`RUSTYMOSHI_TRAINING_DIR`, else `~/.cache/rustymoshi-training`), created if missing."""
    folder = Path(os.environ.get("RUSTYMOSHI_TRAINING_DIR", "~/.cache/rustymoshi-training")).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folder(*parts: str) -> Path:
    """A folder below the training folder, created if missing."""
    path = root().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def replace_atomically(path: Path, write) -> None:
    """Call `write(temporary_path)` and move the result to `path`, so that a reader never sees half a file."""
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    os.replace(temporary, path)
