"""Discriminators learn to tell noise from tones, and the decoder's losses fall as it gets closer."""

import torch
from rustymoshi_training.adversary import Adversary


def tones(b, n=2048):
    t = torch.arange(n) / 24_000
    return torch.stack([torch.sin(2 * torch.pi * f * t) for f in torch.linspace(200, 2000, b)]) * 0.3


def test_discriminators_learn_to_tell_made_from_real():
    torch.manual_seed(0)
    adversary = Adversary(lr=3e-3)
    real, made = tones(4), 0.3 * torch.randn(4, 2048)
    losses = [adversary.learn(made, real) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_real_sound_itself_has_nothing_left_to_match():
    torch.manual_seed(0)
    adversary, real = Adversary(), tones(2)
    assert float(adversary.decoder_loss(real, real)["match"]) == 0
    assert float(adversary.decoder_loss(real + 0.1 * torch.randn_like(real), real)["match"]) > 0


def test_its_state_resumes():
    torch.manual_seed(0)
    first, second = Adversary(), Adversary()
    first.learn(torch.randn(2, 2048), tones(2))
    second.resume(first.state())
    assert all(torch.equal(a, b) for a, b in zip(first.judges.parameters(), second.judges.parameters(), strict=True))
