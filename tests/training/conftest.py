"""These tests need the training extra (torch, sentencepiece, safetensors): `python -m pytest tests/training`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
os.environ.setdefault("RUSTYMOSHI_TRAINING_DIR", str(Path(__file__).parent / ".training-dir"))
