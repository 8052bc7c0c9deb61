"""A sketch of a sound, read off the decoder's features before they become one: what costs a small part of the
sound itself and still teaches what comes before the sound (codebooks' projections, upsampling, transformer)."""

import torch
import torch.nn.functional as F
from torch import nn

from .losses import STOI_BANDS, STOI_FFT, STOI_WINDOW, alike, mel_filters, third_octaves
from .paths import FRAME, SAMPLE_RATE

# 75 columns a second, six of a frame and three of a feature (25 a second).
HOP, COLUMNS_OF_FRAME, COLUMNS_OF_FEATURE = FRAME // 6, 6, 3
MEL_BANDS = 80
# Up to 1.5 kHz every bin for itself, which tells the pitch.
LOW_BINS = 64

FLOOR = 1e-4
# What hums: between 60 and 290 Hz, where a voice has its fundamental, in 600 samples a second, eight of a column.
HUM, HUM_LOWEST, HUM_HIGHEST, HUM_FLOOR = 8, 60.0, 290.0, 3e-3
# The two octaves above it, whose phases can be asked for as well: weights beside the hum's and arguments of `hum`.
OCTAVES = ((1.0, (290.0, 580.0, 2 * HUM)), (0.5, (580.0, 1160.0, 4 * HUM)))
WAVES = (HUM, 2 * HUM, 4 * HUM)
SIZES = (STOI_BANDS, MEL_BANDS, LOW_BINS, *WAVES)
# How much of it is magnitudes; the others are waveforms.
MAGNITUDES = sum(SIZES[:3])


def hum(pcm: torch.Tensor, lowest=HUM_LOWEST, highest=HUM_HIGHEST, samples=HUM, rate=SAMPLE_RATE) -> torch.Tensor:
    """pcm [b, whole frames] of so many samples a second -> the waveform between two frequencies (Hz), the hum's by
    default, as loud as one everywhere, silence aside: [b, columns, samples]."""
    n = pcm.shape[-1]
    spectrum = torch.fft.rfft(pcm)
    freqs = torch.arange(spectrum.shape[-1], device=pcm.device) * (rate / n)
    spectrum = spectrum * ((freqs >= lowest) & (freqs <= highest))
    m = n * SAMPLE_RATE // (HOP * rate) * samples
    low = torch.fft.irfft(spectrum[..., : m // 2 + 1], m) * (m / n)
    near = 3 * samples  # on either side, 40 ms
    power = F.avg_pool1d(F.pad(low.square()[:, None], (near, near), mode="replicate"), 2 * near + 1, 1)[:, 0]
    return (low / (power.sqrt() + HUM_FLOOR)).unflatten(1, (-1, samples))


def waves(pcm: torch.Tensor, rate=SAMPLE_RATE) -> torch.Tensor:
    """pcm [b, whole frames] of so many samples a second -> the hum and the octaves above it [b, columns, 56]."""
    return torch.cat([hum(pcm, rate=rate), *(hum(pcm, *octave, rate) for _, octave in OCTAVES)], -1)


def waves_missed(made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of waves [b, columns, 56]: the share of the hum's power that is missed, and those of the octaves' above it."""
    first, *others = (hum_missed(a, b) for a, b in zip(made.split(WAVES, -1), real.split(WAVES, -1), strict=True))
    return first, sum(w * x for (w, _), x in zip(OCTAVES, others, strict=True))


def phases_missed(
    made: torch.Tensor, real: torch.Tensor, octaves: float, drawn: torch.Tensor | None = None
) -> torch.Tensor:
    """Of two sounds [b, whole frames]: the share of the hum that is missed, and by the weight `octaves` those of the
    octaves above it, whose phases magnitudes alone leave open. What is `drawn` [b, columns, 56] stands for the real
    one's."""
    if octaves == 0:
        return hum_missed(hum(made), hum(real) if drawn is None else drawn[..., :HUM])
    first, others = waves_missed(waves(made), waves(real) if drawn is None else drawn)
    return first + octaves * others


def draw(pcm: torch.Tensor) -> torch.Tensor:
    """pcm [b, whole frames] -> [b, columns, 215]: log magnitudes of STOI's third-octave bands, of mel bands and of low
    bins, then the hum and the octaves above it."""
    window = torch.hann_window(STOI_WINDOW, device=pcm.device)
    spectrum = torch.stft(pcm, STOI_FFT, HOP, STOI_WINDOW, window, return_complex=True)[..., :-1]
    power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2) / window.sum() ** 2
    parts = (
        power @ third_octaves().to(pcm.device),
        (power @ mel_filters(STOI_FFT, MEL_BANDS).to(pcm.device)),
        power[..., :LOW_BINS],
    )
    return torch.cat([*(torch.log(part.clamp(min=0).sqrt() + FLOOR) for part in parts), waves(pcm)], -1)


class Sketch(nn.Module):
    """Features [b, dim, 2 frames] -> what `draw` draws [b, columns, 215]."""

    def __init__(self, dim: int, hidden: int = 256):
        super().__init__()
        self.read = nn.Conv1d(dim, hidden, 3)
        self.write = nn.Conv1d(hidden, COLUMNS_OF_FEATURE * sum(SIZES), 1)
        nn.init.constant_(self.write.bias, -6.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Causal, as the decoder is."""
        out = self.write(F.elu(self.read(F.pad(features, (2, 0)))))
        return out.transpose(1, 2).unflatten(2, (COLUMNS_OF_FEATURE, -1)).flatten(1, 2)


def hum_missed(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Which share of the hum's power is missed: 0 to 1, or more where the phases are worse than nothing. Where the real
    one is NaN it is not asked for."""
    asked = ~real.isnan()
    made, real = torch.where(asked, made, 0.0), torch.where(asked, real, 0.0)
    return (made - real).square().sum() / real.square().sum().clamp(min=1e-2 * real.numel())


def magnitudes_missed(made: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of magnitudes drawn [b, columns, 159]: 1 - the envelopes' correlation, as in `losses.intelligibility`, and the
    distance of all."""
    made, real = made.split(SIZES[:3], -1), real.split(SIZES[:3], -1)
    loudness = (real[0].exp() - FLOOR).square().sum(-1).sqrt()
    return {
        "alike": 1 - alike(made[0].exp(), real[0].exp(), loudness),
        "distance": sum((a - b).abs().mean() for a, b in zip(made, real, strict=True)),
    }


def loss(made: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of what was drawn [b, columns, 215]: what is missed of the magnitudes, and the shares of the power of the hum and
    of the octaves above it that are missed, phases and all."""
    missed = magnitudes_missed(made[..., :MAGNITUDES], real[..., :MAGNITUDES])
    first, others = waves_missed(made[..., MAGNITUDES:], real[..., MAGNITUDES:])
    return missed | {"hum": first, "octaves": others}
