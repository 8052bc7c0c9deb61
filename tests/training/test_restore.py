"""An exported model trained further: what comes back, and who learns first."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rustymoshi.training import checkpoints, export, lm_train, restore
from rustymoshi.training.ear import Heard, Said
from rustymoshi.training.tokens import PADDING

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


def test_new_listening_heads_learn_alone_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    args = SimpleNamespace(name="lm", seed=1, lr=1e-3, batch=1, frames=24)
    trainer = lm_train.Trainer(args)
    table = torch.full((1, 17, 24), PADDING)
    lines = [Heard(0, 2, 20, Said([5, 6], (1, 2, 3)))]
    data = SimpleNamespace(practice=lambda size, frames: (table, lines))
    before = {k: v.clone() for k, v in trainer.lm.state_dict().items()}
    heads = {k: v.clone() for k, v in trainer.ear.state_dict().items()}
    losses = trainer.train_step(data)
    assert losses["practice"] > 0 and losses["sounds"] > 0 and trainer.new_ear == lm_train.NEW_EAR_STEPS - 1
    assert all(torch.equal(v, before[k]) for k, v in trainer.lm.state_dict().items())
    assert any(not torch.equal(v, heads[k]) for k, v in trainer.ear.state_dict().items())
    trainer.save()
    assert lm_train.Trainer(args).new_ear == trainer.new_ear, "stopped in between, they go on alone"


def test_an_export_in_place_of_the_embedded_model_lacks_none_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    export.write(tmp_path / "out", checkpoints.load_lm("lm"), checkpoints.load_codec("codec_frozen"), int8=True)
    drawn = {"curves.png"}  # of a training's losses, and none was trained here
    assert {p.name for p in DEFAULT.iterdir()} - drawn == {p.name for p in (tmp_path / "out").iterdir()}
