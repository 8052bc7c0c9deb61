"""An exported model trained further: what comes back, and who learns first."""

from pathlib import Path

import pytest
import torch
from rustymoshi.training import checkpoints, restore

DEFAULT = Path(__file__).parents[2] / "models" / "default"


def test_the_embedded_model_comes_back_as_checkpoints_and_nothing_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    lm, codec = checkpoints.load_lm("lm"), checkpoints.load_codec("codec_frozen")
    model, mimi = restore.load_exported(DEFAULT)
    assert all(torch.equal(a, b) for a, b in zip(lm.state_dict().values(), model.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(codec.state_dict().values(), mimi.state_dict().values(), strict=True))
    assert (tmp_path / "text" / "tokenizer.model").read_bytes() == (DEFAULT / "tokenizer.model").read_bytes()
    with pytest.raises(FileExistsError, match=r"lm\.pt.*move it away"):
        restore.restore(DEFAULT, "lm", "codec_frozen")
