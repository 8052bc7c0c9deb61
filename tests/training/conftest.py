"""These tests need the training extra (torch, sentencepiece, safetensors) but not the native module:
`python -m pytest tests/training`."""

import os
import sys
import types
from pathlib import Path

if "rustymoshi" not in sys.modules:
    package = types.ModuleType("rustymoshi")
    package.__path__ = [str(Path(__file__).resolve().parents[2] / "python" / "rustymoshi")]
    sys.modules["rustymoshi"] = package
os.environ.setdefault("RUSTYMOSHI_TRAINING_DIR", str(Path(__file__).parent / ".training-dir"))
