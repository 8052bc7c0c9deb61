"""`python -m pytest training/tests`. Most of it needs PyTorch, and is left out with one line where that is missing."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PYTORCH = importlib.util.find_spec("torch") is not None
collect_ignore = [] if PYTORCH else ["with_pytorch"]
# They run from the source tree, installed or not.
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("RUSTYMOSHI_TRAINING_DIR", str(HERE / ".training-dir"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was left out."""
    if not PYTORCH:
        terminalreporter.write_line(
            f"SKIPPED {len(list(HERE.glob('with_pytorch/test_*.py')))} files: they need PyTorch; pip install ./training"
        )
