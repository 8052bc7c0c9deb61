"""An exported model trained further: what comes back, and who learns first."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rustymoshi_training import (
    checkpoints,
    codec_train,
    decoder_train,
    encoder_train,
    export,
    lm_train,
    restore,
    sight_train,
    sketch,
)
from rustymoshi_training.codec_data import Batch
from rustymoshi_training.ear import Heard, Said
from rustymoshi_training.paths import FRAME
from rustymoshi_training.pool import Crop
from rustymoshi_training.tokens import PADDING

DEFAULT = Path(__file__).parents[3] / "models" / "default"


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
    args = SimpleNamespace(name="lm", start_from="", seed=1, lr=1e-3, batch=1, frames=24)
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


def test_a_training_begins_with_another_one_and_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    lr = dict(lr=1e-3, minutes=1, until=0)
    listens = dict(seed=1, practice=1.0, ear_weight=1.0, batch=1, frames=24)
    trainer = lm_train.Trainer(SimpleNamespace(name="next", start_from="lm", **lr, **listens))
    assert trainer.step == 0 and trainer.new_ear == lm_train.NEW_EAR_STEPS
    trainer.new_ear = 0
    batch = torch.full((1, 17, 24), PADDING), [Heard(0, 2, 20, Said([5, 6], (1, 2, 3)))]
    begun = {k: v.clone() for k, v in trainer.lm.state_dict().items()}
    trainer.train_step(SimpleNamespace(practice=lambda size, frames: batch))
    moved = {k.split(".")[0] for k, v in trainer.lm.state_dict().items() if not torch.equal(v, begun[k])}
    assert {"emb", "transformer"} <= moved


def test_an_export_in_place_of_the_embedded_model_lacks_none_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    export.write(tmp_path / "out", checkpoints.load_lm("lm"), checkpoints.load_codec("codec_frozen"), int8=True)
    drawn = {"curves.png"}  # of a training's losses, and none was trained here
    assert {p.name for p in DEFAULT.iterdir()} - drawn == {p.name for p in (tmp_path / "out").iterdir()}


def test_a_restored_codec_is_trained_on_and_its_new_readers_learn_alone_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    names = dict(name="codec", start_from="codec_frozen", adversary=False, hold=2, bins=0)
    weights = dict(commit=0.1, distill=1.0, sounds=1.0, lr=1e-3, minutes=1, warm=5, seed=1)
    trainer = codec_train.Trainer(SimpleNamespace(**names, **weights))
    assert trainer.started(), "its codebooks are kept, also in the first steps, in which a new codec has none"
    teacher = torch.randn(1, 4, codec_train.TEACHER_DIM)
    batch = Batch(
        torch.randn(1, 1, 4 * FRAME) * 0.1, torch.zeros(1, 4 * FRAME), teacher, [Heard(0, 0, 4, Said([1], (3, 1)))]
    )
    _, parts = trainer.quantized(trainer.codec.latent(batch.pcm), batch.teacher, batch.lines)
    sum(parts[name] for name in ("distill", "semantic", "sounds")).backward()
    assert trainer.student.weight.grad.abs().sum() > 0
    assert all(reader.near.weight.grad.abs().sum() > 0 for reader in trainer.readers)
    assert all(p.grad is None for p in trainer.codec.quantizer.rvq_first.parameters())
    parts["commit"].backward()
    moved = [i for i, x in enumerate(trainer.codec.encoder.model) if any(p.grad is not None for p in x.parameters())]
    assert moved[0] == 3, "the first two layers are held, and the third has nothing to learn"
    trainer.save()
    again = codec_train.Trainer(SimpleNamespace(**names, **weights))
    assert again.new_readers == codec_train.NEW_READERS_STEPS - 1
    assert torch.equal(again.student.weight, trainer.student.weight)


def test_codebooks_grow_when_another_run_begins_and_codes_mean_the_same_at_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    bins = checkpoints.load_codec("codec_frozen").config.bins
    args = dict(adversary=False, hold=0, warm=0, lr=1e-3, minutes=1, seed=1)
    larger = codec_train.Trainer(SimpleNamespace(name="larger", start_from="codec_frozen", bins=2 * bins, **args))
    larger.save()
    pcm = torch.randn(1, 1, 8 * FRAME) * 0.1
    small, grown = checkpoints.load_codec("codec_frozen"), checkpoints.load_codec("larger")
    assert grown.config.bins == 2 * bins == grown.config.published()["quantizer"]["bins"]
    with torch.no_grad():
        latent = small.latent(pcm)
    errors = [(c.quantizer.decode(c.quantizer.encode(latent)) - latent).square().mean() for c in (small, grown)]
    assert errors[1] <= errors[0] * 1.02, "the old vectors are among the new ones"
    again = codec_train.Trainer(SimpleNamespace(name="larger", start_from="codec_frozen", bins=bins, **args))
    assert again.codec.config.bins == 2 * bins, "what a run began with stays"
    listener = lm_train.Trainer(SimpleNamespace(name="next", start_from="lm", codec="larger", lr=1e-3, seed=1))
    expected = f"larger has codebooks of {2 * bins}, the language model knows {bins}: see `recode`"
    with pytest.raises(ValueError, match=expected):
        listener.run()
    with pytest.raises(ValueError, match=f"{bins} grows to a multiple of that, not to 700"):
        codec_train.Trainer(SimpleNamespace(name="odd", start_from="codec_frozen", bins=700, **args))


def crops_of(frames: int, know) -> list[Crop]:
    """Two crops of noise, one of them a line."""
    rng = np.random.default_rng(0)
    sounds = (rng.standard_normal((2, frames * FRAME)) * 1000).astype(np.int16)
    heard = (Heard(0, 0, frames, Said([1], (3, 1))), None)
    teacher = (None, rng.standard_normal((frames, codec_train.TEACHER_DIM)).astype(np.float16))
    drawn = [sketch.draw(torch.from_numpy(pcm / np.float32(32767))[None])[0].half() for pcm in sounds]
    known = [know(*both) for both in zip(sounds, drawn, strict=True)]
    return [Crop(*parts) for parts in zip(sounds, known, drawn, teacher, heard, strict=True)]


def test_a_decoder_is_trained_on_its_codes_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    frames = decoder_train.FRAMES
    crops = crops_of(frames, lambda pcm, drawn: torch.randint(0, 512, (8, frames), dtype=torch.int16))
    names = dict(name="codec_decoder", start_from="codec_frozen", adversary=False, sketch_minutes=1, decoded=6)
    names |= dict(sight=False, hold_features=False, in_step=False)
    weights = LOSSES | dict(
        envelope=4.0, phase=1.0, harmonics=1.0, period=0.5, advance=1.0, octaves=0.6, lr=1e-3, minutes=2, seed=1
    )
    trainer = decoder_train.Trainer(SimpleNamespace(**names, **weights))
    begun = {k: v.clone() for k, v in trainer.codec.state_dict().items()}

    def moved() -> set[str]:
        return {k.split(".")[0] for k, v in trainer.codec.state_dict().items() if not torch.equal(v, begun[k])}

    assert set(trainer.train_step(crops)) == {"alike", "distance", "hum", "octaves"}
    assert moved() == {"quantizer", "upsample", "decoder_transformer"}, "no sound in the first minutes"
    trainer.elapsed = 60.0
    assert {"spectral", "envelope"} <= set(trainer.train_step(crops))
    assert moved() == {"quantizer", "upsample", "decoder_transformer", "decoder"}
    now = trainer.codec.state_dict()
    assert all(torch.equal(begun[k], now[k]) for k in now if "_codebook" in k or "input_proj" in k)
    trainer.save()
    again = decoder_train.Trainer(SimpleNamespace(**names, **weights))
    assert (again.elapsed, again.source) == (60.0, "codec_decoder")
    assert torch.equal(again.sketch.write.weight, trainer.sketch.write.weight)
    held = decoder_train.Trainer(SimpleNamespace(**(names | dict(name="sound", hold_features=True)), **weights))
    begun = {k: v.clone() for k, v in held.codec.state_dict().items()}
    assert "alike" not in held.train_step(crops)
    assert {k.split(".")[0] for k, v in held.codec.state_dict().items() if not torch.equal(v, begun[k])} == {"decoder"}
    with pytest.raises(ValueError, match="--start-from names none: give a name"):
        decoder_train.Trainer(SimpleNamespace(**(names | dict(name="none", start_from="")), **weights))
    stepping = decoder_train.Trainer(SimpleNamespace(**(names | dict(name="step", in_step=True)), **weights))
    waves = [sketch.waves(torch.from_numpy(crop.pcm / np.float32(32767))[None])[0].half() for crop in crops]
    waves[1][:] = torch.nan
    stepping.elapsed = 60.0
    missed = stepping.train_step([replace(crop, waves=w) for crop, w in zip(crops, waves, strict=True)])
    assert 0 < missed["phase"] < 10, "asked of the first alone"


LOSSES = dict(alike=5.0, distance=0.3, hum=1.0, octaves=0.0, commit=0.1, distill=1.0, sounds=1.0)


def test_an_encoder_is_trained_behind_its_first_layers_without_sound(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec")
    names = dict(name="codec_anew", start_from="codec", adversary=False, hold=encoder_train.HELD_LAYERS, warm=0, bins=0)
    weights = LOSSES | dict(direct=1.0, taught=1.0, hold_decoder=False, hold_codes=False, lr=1e-3, minutes=2, seed=1)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt to start from: train it first"):
        encoder_train.Trainer(SimpleNamespace(**(names | {"start_from": "nowhere"}), **weights))
    trainer = encoder_train.Trainer(SimpleNamespace(**names, **weights))
    trainer.new_readers = 0
    trainer.codec.train()
    crops = crops_of(encoder_train.FRAMES, trainer.know)
    begun = {k: v.clone() for k, v in trainer.codec.state_dict().items()}
    pcm = torch.from_numpy(crops[0].pcm.astype(np.float32) / 32767)[None, None]
    with torch.no_grad():
        columns = trainer.codec.columns_of_held(crops[0].known[None].float(), encoder_train.HELD_LAYERS)
        whole, behind = trainer.codec.latent(pcm), trainer.codec.latent_of_columns(columns)
    assert (whole - behind).abs().mean() < 0.05 * whole.abs().mean()
    losses = {"alike", "distance", "hum", "commit", "distill", "semantic", "sounds", "direct"}
    assert set(trainer.train_step(crops)) == losses
    moved = [k for k, v in trainer.codec.state_dict().items() if not torch.equal(v, begun[k])]
    layers = {int(k.split(".")[2]) for k in moved if k.startswith("encoder.")}
    assert layers == {7, 9, 10, 12, 14}, "those behind what is held"
    assert not [k for k in moved if k.startswith("decoder.")]
    assert [k for k in moved if "_codebook" in k] and [k for k in moved if k.startswith("decoder_transformer.")]


def test_an_encoder_learns_to_say_what_codebooks_made_of_the_sketch_alone_want_to_hear(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec")
    args = LOSSES | dict(adversary=False, hold_decoder=True, hold_codes=True, lr=1e-3, minutes=2, seed=1)
    sees = SimpleNamespace(name="codec_sight", start_from="codec", hold=0, warm=1, bins=1024, **args)
    teacher = sight_train.Trainer(sees)
    crops = crops_of(encoder_train.FRAMES, teacher.know)
    begun = {k: v.clone() for k, v in teacher.codec.state_dict().items()}
    monkeypatch.setattr(teacher, "batches", lambda: iter([crops] * 43))
    teacher.codec.train()
    reports = []

    def go(step):
        for teacher.step in range(3):
            reports.append(step())

    monkeypatch.setattr(teacher, "go", go)
    teacher.run()
    assert reports[0]["commit"] == 0 and reports[1]["commit"] > 0, "codebooks come after the first steps"
    now = teacher.codec.state_dict()
    moved = {k.split(".")[0] for k, v in now.items() if v.shape != begun[k].shape or not torch.equal(v, begun[k])}
    assert moved == {"quantizer", "upsample", "decoder_transformer"}
    teacher.save()
    assert torch.equal(sight_train.Trainer(sees).sight.layers[0].weight, teacher.sight.layers[0].weight)
    hears = dict(name="codec_anew", start_from="codec_sight", hold=encoder_train.HELD_LAYERS, warm=0, bins=0)
    trainer = encoder_train.Trainer(SimpleNamespace(**hears, **args, direct=0.0, taught=1.0))
    assert trainer.codec.config.bins == 1024
    drawn = trainer.drawn(crops)
    with torch.no_grad():
        seen = trainer.sight(drawn)
        assert trainer.untaught(seen, drawn) < 0.01
        assert 0.5 < trainer.untaught(seen.mean((0, 2), keepdim=True).expand_as(seen), drawn) < 1.5
    trainer.begin()
    crops = crops_of(encoder_train.FRAMES, trainer.know)
    begun = {k: v.clone() for k, v in trainer.codec.state_dict().items()}
    assert trainer.train_step(crops)["taught"] > 0
    moved = [k for k, v in trainer.codec.state_dict().items() if not torch.equal(v, begun[k])]
    parts = {k.split(".")[0] for k in moved}
    assert parts == {"encoder", "encoder_transformer", "downsample", "quantizer"}, "what is behind them is held"
    assert not [k for k in moved if "_codebook" in k], "and so are the codebooks"
    trainer.save()
    again = encoder_train.Trainer(SimpleNamespace(**hears, **args, direct=0.0, taught=1.0))
    assert torch.equal(again.sight.mean, teacher.sight.mean)
    weights = dict(sight=True, hold_features=True, in_step=False, sketch_minutes=0, decoded=6)
    weights |= dict(envelope=4.0, phase=1.0, harmonics=1.0, period=0.0, advance=1.0)
    decoder = decoder_train.Trainer(SimpleNamespace(name="codec_decoder", start_from="codec_sight", **args, **weights))
    seen = [decoder.seen(crop.pcm, crop.sketch) for crop in crops]
    assert torch.equal(seen[0], teacher.codec.quantizer.encode(teacher.sight(drawn[:1]))[0])
    assert {"spectral", "envelope"} <= set(decoder.train_step(crops_of(decoder_train.FRAMES, decoder.seen)))
    with pytest.raises(ValueError, match=r"codec was not made by `sight_train`.*leave out --sight"):
        decoder_train.Trainer(SimpleNamespace(name="none", start_from="codec", **args, **weights))
    with pytest.raises(ValueError, match=r"optimizer has state, param_groups instead of matrices, others.*new --name"):
        trainer.optimizer.load_state_dict(torch.optim.AdamW([torch.zeros(1)]).state_dict())
