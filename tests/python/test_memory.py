"""What a model and its sessions take is known before the first frame."""

from __future__ import annotations

import rustymoshi


def test_a_models_memory_is_told() -> None:
    info = rustymoshi.Model.default().info
    assert info["memory_bytes"] > 1_000_000
    assert info["session_bytes"] > 100_000
    fit = info["sessions_that_fit"]
    assert fit is None or fit > 0
