"""What a sound must be like, drawn from it and read off the decoder's features."""

import numpy as np
import torch
from rustymoshi_training import losses, sketch


def hisses(seconds: int = 2) -> torch.Tensor:
    """Two rows of noise that comes and goes, at other times in other bands."""
    rng, t = np.random.default_rng(0), np.arange(24_000 * seconds) / 24_000
    rows = [np.cumsum(rng.standard_normal(len(t))) * 0.01 * np.sin(2 * np.pi * r * t) for r in (1.5, 2.5)]
    rows = [row + rng.standard_normal(len(t)) * 0.1 * np.cos(2 * np.pi * 2 * t) for row in rows]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def test_a_sketch_has_six_columns_a_frame():
    assert sketch.draw(hisses()).shape == (2, 25 * 6, sum(sketch.SIZES))
    assert sketch.Sketch(16)(torch.randn(2, 16, 50)).shape == (2, 25 * 6, sum(sketch.SIZES))


def test_a_sketch_of_the_same_sound_costs_nothing_and_follows_what_stoi_measures():
    pcm = hisses()
    drawn = sketch.draw(pcm)
    same = sketch.loss(drawn, drawn)
    assert same["alike"].abs() < 1e-3 and same["distance"] == 0
    assert same["hum"] == 0 and same["octaves"] == 0
    other = sketch.loss(sketch.draw(pcm.flip(0)), drawn)
    assert other["alike"] > 0.2 and other["distance"] > 0.1
    assert abs(other["alike"] - losses.intelligibility(pcm.flip(0), pcm)) < 0.1


def test_the_hum_is_a_voices_fundamental_as_it_swings():
    t = torch.arange(1920 * 10) / 24_000
    voice = sum(torch.sin(2 * np.pi * 200 * h * t) / h for h in range(1, 20))[None] * 0.1
    hum = sketch.hum(voice).flatten()
    wanted = 2**0.5 * torch.sin(2 * np.pi * 200 * torch.arange(len(hum)) / 600)
    assert (hum - wanted)[60:-60].abs().max() < 0.1, "as loud as one, and in phase"
    assert sketch.hum(voice * 1e-4).abs().max() < 0.1, "silence does not hum"
    halved = sketch.loss(*(sketch.draw(x) for x in (voice, voice.roll(60, 1))))
    assert halved["hum"] > 3, "half a period away is worse than nothing"
    assert halved["octaves"] < 3, "and a whole one of the second harmonic"
    unasked = torch.cat([torch.full_like(hum, torch.nan), hum])
    assert sketch.hum_missed(torch.cat([hum * 0.5, hum * 0.5]), unasked).sub(0.25).abs() < 0.01


def test_a_loud_column_is_read_where_it_sounds():
    pcm = torch.zeros(1, 1920 * 4)
    pcm[0, 1920 * 2 : 1920 * 3] = torch.sin(2 * np.pi * 500 * torch.arange(1920) / 24_000)
    loud = (sketch.draw(pcm)[0, :, : sketch.MAGNITUDES].mean(-1) > -9).nonzero()[:, 0]
    assert loud[0] in (11, 12) and loud[-1] in (17, 18)


def test_what_is_read_of_a_column_does_not_hang_on_later_features():
    torch.manual_seed(0)
    reader, x = sketch.Sketch(8), torch.randn(1, 8, 6)
    y = x.clone()
    y[..., 4:] += 1
    assert torch.allclose(reader(x)[:, : 4 * 3], reader(y)[:, : 4 * 3], atol=1e-6)
