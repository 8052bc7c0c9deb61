"""What teaches an encoder."""

import torch
from rustymoshi_training import sketch
from rustymoshi_training.sight import MAGNITUDES, Direct, Sight


def test_a_latent_is_of_its_frame_and_the_one_before_and_the_hum_is_not_looked_at():
    torch.manual_seed(0)
    sight, drawn = Sight(16), torch.randn(2, 5 * 6, sum(sketch.SIZES))
    sight.adapt(drawn)
    assert sight(drawn).shape == (2, 16, 5)
    other = drawn.clone()
    other[:, 2 * 6 : 3 * 6, 7] += 1
    other[..., MAGNITUDES:] = torch.nan
    differ = (sight(drawn) - sight(other)).abs().amax((0, 1)) > 1e-6
    assert differ.tolist() == [False, False, True, True, False]


def test_every_column_is_read_for_itself():
    torch.manual_seed(0)
    direct, columns = Direct(16), torch.randn(2, 16, 10)
    assert direct(columns).shape == (2, 5 * 6, MAGNITUDES)
    other = columns.clone()
    other[..., 4] += torch.arange(16)
    differ = (direct(columns) - direct(other)).abs().amax((0, 2)) > 1e-6
    assert differ.nonzero()[:, 0].tolist() == [12, 13, 14]
