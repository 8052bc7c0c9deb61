"""What the codec is trained to minimise: log-mel and magnitude distances on several windows, envelopes, a cosine."""

from functools import cache

import torch
import torch.nn.functional as F

WINDOWS = {2048: 80, 1024: 80, 512: 64, 256: 32, 128: 16}
FLOOR = 1e-4


@cache
def mel_filters(fft: int, bands: int, rate: int = 24_000) -> torch.Tensor:
    """Triangular filters [fft / 2 + 1, bands] on the mel scale (2595 log10(1 + f / 700))."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700))
    points = 700 * (10 ** (torch.linspace(0, float(top), bands + 2) / 2595) - 1)
    freqs = torch.linspace(0, rate / 2, fft // 2 + 1)[:, None]
    rise = (freqs - points[:-2]) / (points[1:-1] - points[:-2])
    fall = (points[2:] - freqs) / (points[2:] - points[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0)
    return filters / filters.sum(0).clamp(min=1e-3)


def magnitudes(pcm: torch.Tensor, fft: int) -> torch.Tensor:
    """|STFT| of pcm [b, samples], quarter hops: [b, frames, fft / 2 + 1]; a full-scale sine peaks near 0.5."""
    window = torch.hann_window(fft, device=pcm.device)
    spectrum = torch.stft(pcm, fft, fft // 4, window=window, return_complex=True) / window.sum()
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (power + 1e-12).sqrt().transpose(1, 2)


def spectral(made: torch.Tensor, real: torch.Tensor, windows=tuple(WINDOWS)) -> torch.Tensor:
    """Mean over window lengths of log-mel L1 and of the relative magnitude error; inputs [b, samples]."""
    total = 0.0
    for fft in windows:
        filters = mel_filters(fft, WINDOWS[fft]).to(made.device)
        a, b = magnitudes(made, fft), magnitudes(real, fft)
        mel_a, mel_b = a @ filters, b @ filters
        total = total + (torch.log(mel_a + FLOOR) - torch.log(mel_b + FLOOR)).abs().mean()
        total = total + 0.3 * (a - b).square().sum((1, 2)).sqrt().div(b.square().sum((1, 2)).sqrt() + 1e-2).mean()
    return total / len(windows)


# Windows that are long enough to tell a voice's harmonics from what is between them, where they are strongest (Hz).
HARMONICS_WINDOWS, HARMONICS_LOWEST, HARMONICS_HIGHEST = (2048, 4096), 130, 1100
HARMONICS_FLOOR, HARMONICS_FAINT = 1e-3, 0.05


def harmonics(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean distance of log magnitudes in long windows' low bins, over the windows that are not faint; inputs
    [b, samples]. A voice whose phase jumps from column to column has its harmonics smeared, and sounds rough."""
    total = 0.0
    for fft in HARMONICS_WINDOWS:
        bins = slice(HARMONICS_LOWEST * fft // 24_000, HARMONICS_HIGHEST * fft // 24_000)
        a, b = magnitudes(made, fft)[..., bins], magnitudes(real, fft)[..., bins]
        loudness = b.norm(dim=-1)
        heard = (loudness > HARMONICS_FAINT * loudness.amax(1, keepdim=True).clamp(min=HARMONICS_FLOOR)).float()
        missed = (torch.log(a + HARMONICS_FLOOR) - torch.log(b + HARMONICS_FLOOR)).abs().mean(-1)
        total = total + (missed * heard).sum() / heard.sum().clamp(min=1)
    return total / len(HARMONICS_WINDOWS)


# How alike a voice is to itself a period later: windows of 64 ms, up to 1.6 kHz, periods of 60 to 500 Hz (in samples).
PERIOD_WINDOW, PERIOD_FFT, PERIOD_HOP, PERIOD_HIGHEST = 1_536, 2_048, 320, 1_600
PERIODS = range(48, 401, 4)


@cache
def delays() -> torch.Tensor:
    """What turns low bins' magnitudes into how alike they are to themselves after each of `PERIODS`."""
    bins = torch.arange(1, PERIOD_HIGHEST * PERIOD_FFT // 24_000 + 1)[:, None]
    return torch.cos(2 * torch.pi * bins * torch.tensor(PERIODS) / PERIOD_FFT)


def aperiodicity(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Which share is missed of the real sound's periods, whatever the phases: the autocorrelation of its magnitudes, by
    which pitch is told; inputs [b, samples]. 0 to 1, or more for a voice at the wrong pitch."""
    window = torch.hann_window(PERIOD_WINDOW, device=made.device)
    alike_after, loudness = [], None
    for pcm in (made, real):
        spectrum = torch.stft(pcm, PERIOD_FFT, PERIOD_HOP, PERIOD_WINDOW, window, return_complex=True) / window.sum()
        low = torch.view_as_real(spectrum[:, 1 : len(delays()) + 1]).square().sum(-1).transpose(1, 2)
        loudness, low = low.sum(-1).sqrt(), (low + 1e-10).sqrt()
        alike_after.append(low @ delays().to(made.device) / (low.sum(-1, keepdim=True) + HARMONICS_FLOOR))
    a, b = alike_after
    heard = (loudness > HARMONICS_FAINT * loudness.amax(1, keepdim=True).clamp(min=HARMONICS_FLOOR)).float()[..., None]
    return ((a - b).square() * heard).sum() / (b.square() * heard).sum().clamp(min=1e-2)


# By how much phases go on: windows of 43 ms, which tell harmonics apart, 10 and 30 ms after one another.
ADVANCE_WINDOW, ADVANCE_HOP, ADVANCE_LAGS = 1_024, 240, (1, 3)
# What is fainter than this share of a row's loudest, which must not be silent, does not count.
ADVANCE_FAINT, ADVANCE_SILENCE = 0.03, 1.0


def advance(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """How far harmonics are from going on as the real ones do, whatever their phases: 1 - cosine of the difference in
    phase advance (APNet's instantaneous angular frequency, Ai and Ling 2023) between 130 and 1100 Hz, where there is
    something to hear; inputs [b, samples]. 0 to 2; 1 for what has nothing to do with it, or is far too soft."""
    window = torch.hann_window(ADVANCE_WINDOW, device=made.device)
    bins = slice(HARMONICS_LOWEST * ADVANCE_WINDOW // 24_000, HARMONICS_HIGHEST * ADVANCE_WINDOW // 24_000)
    spectra = [
        torch.stft(pcm, ADVANCE_WINDOW, ADVANCE_HOP, ADVANCE_WINDOW, window, return_complex=True)[:, bins]
        for pcm in (made, real)
    ]
    total = 0.0
    for lag in ADVANCE_LAGS:
        a, b = (torch.view_as_real(x[..., lag:] * x[..., :-lag].conj()) for x in spectra)
        loud = b.square().sum(-1)
        weight = (loud / loud.amax((1, 2), keepdim=True).clamp(min=ADVANCE_SILENCE)).pow(0.25)
        weight = weight * (weight > ADVANCE_FAINT)
        cosine = (a * b).sum(-1) / ((loud + 1e-8) * (a.square().sum(-1) + 1e-3 * loud + 1e-8)).sqrt()
        total = total + (weight * (1 - cosine)).sum() / weight.sum().clamp(min=1)
    return total / len(ADVANCE_LAGS)


# STOI's analysis (Taal et al. 2011, section II) at 24 kHz: windows of 25.6 ms, half overlapping, fifteen third-octave
# bands from 150 Hz on, envelopes compared over 30 windows (384 ms).
STOI_WINDOW, STOI_FFT, STOI_BANDS, STOI_LOWEST, STOI_SEGMENT = 614, 1_024, 15, 150.0, 30
# A segment counts that is louder than this share (40 dB, as there) of the row's loudest, which must not be silent.
STOI_FAINT, STOI_SILENCE = 0.01, 1e-3


@cache
def third_octaves(rate: int = 24_000) -> torch.Tensor:
    """Which bins belong to which band: [fft / 2 + 1, bands] of zeros and ones."""
    freqs = torch.linspace(0, rate / 2, STOI_FFT // 2 + 1)[:, None]
    centres = STOI_LOWEST * 2 ** (torch.arange(STOI_BANDS) / 3)
    return ((freqs >= centres * 2 ** (-1 / 6)) & (freqs < centres * 2 ** (1 / 6))).float()


def alike(made: torch.Tensor, real: torch.Tensor, loudness: torch.Tensor) -> torch.Tensor:
    """Mean correlation of envelopes [b, t, bands] in short segments (Taal et al. 2011, equation 5, without its
    clipping); those in which the real sound, of `loudness` [b, t], is faint do not count."""
    a, b, energy = (x.unfold(1, STOI_SEGMENT, STOI_SEGMENT // 6) for x in (made, real, loudness))
    a, b, energy = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True), energy.mean(-1)
    each = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-7)
    heard = (energy > STOI_FAINT * energy.amax(1, keepdim=True).clamp(min=STOI_SILENCE)).float()
    return (each.mean(-1) * heard).sum() / heard.sum().clamp(min=1)


def intelligibility(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """1 - the mean correlation of both sounds' envelopes, what STOI measures. Inputs [b, samples]."""
    window = torch.hann_window(STOI_WINDOW, device=made.device)
    envelopes = []
    for pcm in (made, real):
        spectrum = torch.stft(pcm, STOI_FFT, STOI_WINDOW // 2, STOI_WINDOW, window, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2) / window.sum() ** 2  # [b, t, bins]
        envelopes.append((power @ third_octaves().to(made.device) + 1e-12).sqrt())
    return 1 - alike(*envelopes, power.sum(-1).sqrt())


def distillation(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - cosine between [b, t, d] and [b, t, d], averaged over the frames that have a teacher (not all zero)."""
    known = teacher.abs().amax(-1) > 0
    return ((1 - F.cosine_similarity(student, teacher, dim=-1)) * known).sum() / known.sum().clamp(min=1)
