"""A sketch of a sound, read off the decoder's features before they become one: what costs a hundredth of the sound
itself and still teaches what comes before the sound (codebooks' projections, upsampling, transformer)."""

import torch
import torch.nn.functional as F
from torch import nn

from .losses import STOI_BANDS, STOI_FFT, STOI_WINDOW, alike, mel_filters, third_octaves
from .paths import FRAME

# 75 columns a second, six of a frame and three of a feature (25 a second).
HOP, COLUMNS_OF_FRAME, COLUMNS_OF_FEATURE = FRAME // 6, 6, 3
MEL_BANDS = 80
# Up to 1.5 kHz every bin for itself, which tells the pitch.
LOW_BINS = 64
SIZES = (STOI_BANDS, MEL_BANDS, LOW_BINS)
FLOOR = 1e-4


def draw(pcm: torch.Tensor) -> torch.Tensor:
    """pcm [b, whole frames] -> log magnitudes [b, columns, 159]: STOI's third-octave bands, mel bands, low bins."""
    window = torch.hann_window(STOI_WINDOW, device=pcm.device)
    spectrum = torch.stft(pcm, STOI_FFT, HOP, STOI_WINDOW, window, return_complex=True)[..., :-1]
    power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2) / window.sum() ** 2
    parts = (
        power @ third_octaves().to(pcm.device),
        (power @ mel_filters(STOI_FFT, MEL_BANDS).to(pcm.device)),
        power[..., :LOW_BINS],
    )
    return torch.cat([torch.log(part.clamp(min=0).sqrt() + FLOOR) for part in parts], -1)


class Sketch(nn.Module):
    """Features [b, dim, 2 frames] -> log magnitudes [b, columns, 159]."""

    def __init__(self, dim: int, hidden: int = 256):
        super().__init__()
        self.read = nn.Conv1d(dim, hidden, 3)
        self.write = nn.Conv1d(hidden, COLUMNS_OF_FEATURE * sum(SIZES), 1)
        nn.init.constant_(self.write.bias, -6.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Causal, as the decoder is."""
        out = self.write(F.elu(self.read(F.pad(features, (2, 0)))))
        return out.transpose(1, 2).unflatten(2, (COLUMNS_OF_FEATURE, -1)).flatten(1, 2)


def loss(made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of log magnitudes [b, columns, 159]: 1 - the envelopes' correlation, as in `losses.intelligibility`, and the
    distance of everything."""
    bands, *rest = ((a - b).abs().mean() for a, b in zip(made.split(SIZES, -1), real.split(SIZES, -1), strict=True))
    envelopes = (x[..., :STOI_BANDS].exp() for x in (made, real))
    loudness = real[..., :STOI_BANDS].exp().square().sum(-1).sqrt()
    return 1 - alike(*envelopes, loudness), bands + sum(rest)
