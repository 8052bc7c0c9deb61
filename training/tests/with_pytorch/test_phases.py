"""Phases in the last codebook: what they say of a voice, and that all other codes stay what they are."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rustymoshi_training import checkpoints, phase_train, phases, restore, sketch
from rustymoshi_training.encoder_train import HELD_LAYERS
from rustymoshi_training.paths import FRAME, SAMPLE_RATE
from rustymoshi_training.phases import NUMBERS, PER_FRAME
from rustymoshi_training.pool import Crop, whole

DEFAULT = Path(__file__).parents[3] / "models" / "default"
FRAMES = phase_train.FRAMES


def voice(hertz: float, frames: int) -> np.ndarray:
    """Five harmonics of a steady pitch, the first at its crest in the beginning."""
    turns = 2 * np.pi * hertz * np.arange(frames * FRAME) / SAMPLE_RATE
    return (0.1 * sum(np.cos(k * turns) / k for k in range(1, 6))).astype(np.float32)


@pytest.mark.parametrize("hertz", [97.0, 187.3, 240.0])
def test_a_held_tone_is_told_at_its_phase(hertz):
    told = phases.phases(voice(hertz, 10))
    assert told.shape == (10, NUMBERS)
    turned = told.reshape(-1, 2) @ [1, 1j]
    times = (np.arange(10 * PER_FRAME) + 0.5) * FRAME / SAMPLE_RATE / PER_FRAME
    off = np.angle(turned * np.exp(-2j * np.pi * hertz * times))[2:-2]
    assert np.abs(off).max() < 0.15 and np.abs(turned[2:-2]).min() > 0.99


def test_silence_and_noise_have_no_phase():
    noise = np.random.default_rng(0).standard_normal(12 * FRAME).astype(np.float32) * 0.1
    assert not phases.phases(np.zeros(12 * FRAME, np.float32)).any()
    assert np.hypot(*phases.phases(noise).reshape(-1, 2).T).mean() < 0.3
    half = np.concatenate([voice(150.0, 6), np.zeros(6 * FRAME, np.float32)])
    assert not phases.phases(half)[7:].any(), "faint beside the rest"


@pytest.mark.parametrize("hertz", [97.0, 187.3])
def test_harmonics_are_in_step_whatever_they_were(hertz):
    """As loud as they are, and told of nobody where nobody speaks."""

    def voice(ahead) -> np.ndarray:
        turns = 2 * np.pi * hertz * np.arange(10 * FRAME) / SAMPLE_RATE
        return (0.1 * sum(np.cos(k * turns + ahead(k)) / k for k in range(1, 6))).astype(np.float32)

    found = phases.in_step(voice(lambda k: (k - 1) * 2.3))
    wanted = voice(lambda k: (k - 1) * np.pi / 2)
    asked, near = ~found.waves[:, 0].isnan(), sketch.waves(torch.from_numpy(wanted)[None])[0]
    assert asked[6:-6].all() and sketch.hum_missed(found.waves[6:-6], near[6:-6]) < 0.02
    for k, made in enumerate(found.harmonics[6:-6].split(sketch.WAVES, -1)[:2], 1):
        then = np.arange(made.numel()) / made.numel() * len(made) / 75 + 0.08
        wanted = 2**0.5 * np.cos(2 * np.pi * k * hertz * then + (k - 1) * np.pi / 2)
        assert np.abs(made.flatten().numpy() - wanted).max() < 0.1
    assert phases.in_step(np.zeros(3 * FRAME, np.float32)).waves.isnan().all()


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install pyworld 'setuptools<81'"):
        phases.phases(voice(150.0, 2))


def crops_of(know) -> list[Crop]:
    """Voices of six pitches."""
    made = []
    for hertz in (90, 120, 150, 180, 210, 240):
        pcm = voice(hertz, FRAMES) * np.repeat(np.random.default_rng(hertz).random(FRAMES), FRAME).astype(np.float32)
        made.append(Crop(whole(pcm), know(whole(pcm), None), None, None, None, phases.phases(pcm)))
    return made


def test_the_last_codebook_tells_phases_and_the_others_what_they_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    restore.restore(DEFAULT, "lm", "codec_frozen")
    args = SimpleNamespace(
        name="codec_phased", start_from="codec_frozen", adversary=False, keep=0.5, lr=1e-3, minutes=2, seed=1
    )
    trainer = phase_train.Trainer(args)
    crops = crops_of(trainer.know)
    told, before = trainer.told(crops), trainer.before
    trainer.make_room(crops)
    with torch.no_grad():
        latents = trainer.latents(trainer.codec, crops).transpose(1, 2)
        old, new = (codec.quantizer.encode(latents) for codec in (before, trainer.codec))
        assert (old[:, :4] == new[:, :4]).float().mean() > 0.97
        # A latent that says just these phases is told by the vector nearest to them.
        rest = trainer.codec.quantizer.rvq_rest
        spoken = told.flatten(0, 1) @ trainer.directions.T
        others = rest.input_proj(latents).transpose(1, 2).flatten(0, 1)
        residual = others - others @ trainer.directions @ trainer.directions.T + spoken
        for book in rest.books:
            codes = book.nearest(residual)
            chosen = book.vectors[codes]
            residual = residual - chosen
    assert phases.missed(chosen @ trainer.directions, told.flatten(0, 1)) < 0.1
    begun = {k: v.clone() for k, v in trainer.codec.state_dict().items()}
    losses = [trainer.train_step(crops) for _ in range(12)]
    assert losses[0]["moved"] < 1e-3 < losses[-1]["moved"] and losses[-1]["missed"] < losses[0]["missed"]
    moved = [k for k, v in trainer.codec.state_dict().items() if not torch.equal(v, begun[k])]
    assert {k.split(".")[0] for k in moved} == {"encoder", "encoder_transformer", "downsample"}
    assert min(int(k.split(".")[2]) for k in moved if k.startswith("encoder.")) == HELD_LAYERS
    trainer.save()
    codec = checkpoints.load_codec("codec_phased")
    with torch.no_grad():
        latents = trainer.latents(codec, crops)
        seen = latents @ codec.quantizer.rvq_rest.input_proj.weight[..., 0].T @ trainer.directions
        assert torch.allclose(seen, trainer.rows(latents), atol=1e-3), "what it has learned to read is in the codec"
    again = phase_train.Trainer(args)
    assert again.step == trainer.step and torch.equal(again.directions, trainer.directions)
    other = phase_train.Trainer(SimpleNamespace(**(vars(args) | dict(name="further", start_from="codec_phased"))))
    kept = other.before.state_dict()
    assert all(torch.equal(v, kept[k]) for k, v in before.state_dict().items()), "it still keeps to the first one"
