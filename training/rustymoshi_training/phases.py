"""Where in its period a voice is, three times a frame: what the last codebook can tell instead of yet finer envelopes.

A decoder that is not told cannot keep a pitch. What it makes of codes that stay the same is the same in every frame, so
the harmonics of a held tone come out at multiples of 12.5 Hz, or of 25 Hz while the columns of a frame are made alike.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import oaconvolve

from . import sketch
from .codec import Codec
from .paths import FRAME, SAMPLE_RATE
from .quantizer import Codebook

# In the middle of as many equal parts of a frame; two numbers each.
PER_FRAME = 3
NUMBERS = 2 * PER_FRAME
# Where fundamentals are (Hz).
LOWEST, HIGHEST = 60.0, 500.0
# Samples a second after decimation, those of a window (32 ms), and up to where harmonics are kept (Hz).
RATE, WINDOW, TOP = 3_000, 96, 420.0
# Harmonics in step: up to where (Hz), and the window in which each is found (36 ms, in samples).
IN_STEP_TOP, IN_STEP_WINDOW = 1_250.0, 108
# Windows so much softer than the loudest one tell nothing.
FAINT_DB = 45.0
# With less than the first share of the amplitude a fundamental tells no phase, with more than the second one it does;
# where a pitch was found, and elsewhere.
VOICED, ELSEWHERE = (0.1, 0.25), (0.35, 0.6)


def phases(pcm: np.ndarray) -> np.ndarray:
    """pcm [whole frames] -> [frames, 6] f32: cosine and sine of the fundamental's phase at 1/6, 3/6 and 5/6 of every
    frame; near (0, 0) where there is none. The pitch is found by WORLD's DIO (Morise et al. 2009)."""
    sound, points = pcm.astype(np.float64), len(pcm) // FRAME * PER_FRAME
    pitch, at = _pitch(sound)
    voiced = pitch > 0
    if not voiced.any():
        return np.zeros((points // PER_FRAME, NUMBERS), np.float32)
    times = (np.arange(points) + 0.5) * FRAME / SAMPLE_RATE / PER_FRAME
    pitch = np.interp(times, at[voiced], pitch[voiced])
    windows, beside = _windows(sound, times)
    shape = np.hanning(WINDOW + 1)[:-1]
    found = (windows * shape * np.exp(-2j * np.pi * pitch[:, None] * beside)).sum(1)
    power = (windows**2 * shape).sum(1)
    share = np.abs(found) * np.sqrt(2 / (shape.sum() * power + 1e-20))
    least, enough = np.where(np.interp(times, at, voiced)[:, None] > 0, VOICED, ELSEWHERE).T
    clear = np.clip((share - least) / (enough - least), 0, 1) * (power > power.max() * 10 ** (-FAINT_DB / 10))
    told = clear * found / (np.abs(found) + 1e-20)
    return np.stack([told.real, told.imag], 1).reshape(-1, NUMBERS).astype(np.float32)


@dataclass(frozen=True)
class InStep:
    """A voice's harmonics in step with its fundamental: harmonic k at k times its phase and k - 1 quarters of a turn,
    as in many voices. How they stand to each other in the sound itself depends on voice and room, and cannot be known
    of the fundamental; nobody hears it. All of it for columns of a sixth of a frame, NaN where there is none."""

    #: The lowest three, as loud as one, as often sampled in each column as `sketch.waves`: [columns, 56] f32.
    harmonics: torch.Tensor
    #: All up to 1,250 Hz, each as loud as it is: what `sketch.waves` are of that, [columns, 56] f32.
    waves: torch.Tensor


def in_step(pcm: np.ndarray) -> InStep:
    """Of pcm [whole frames]."""
    sound, columns = pcm.astype(np.float64), 6 * (len(pcm) // FRAME)
    pitch, at = _pitch(sound)
    voiced = pitch > 0
    if not voiced.any():
        return InStep(*torch.full((2, columns, sum(sketch.WAVES)), torch.nan))
    low = _low(sound, IN_STEP_TOP)
    times = np.arange(len(low)) / RATE
    hertz = np.interp(times, at[voiced], pitch[voiced])
    turned, shape = 2 * np.pi * np.cumsum(hertz) / RATE, np.hanning(IN_STEP_WINDOW + 2)[1:-1]
    made, power, highest = 0.0, 1e-20, int(IN_STEP_TOP / np.percentile(pitch[voiced], 5))
    for k in range(1, highest + 1):
        found = oaconvolve(low * np.exp(-1j * k * turned), 2 * shape / shape.sum(), "same")
        if k == 1:
            first, phase = np.abs(found), np.unwrap(turned + np.angle(found))
        loud = np.abs(found) * (k * hertz < IN_STEP_TOP)
        made, power = made + loud * np.cos(k * phase + (k - 1) * np.pi / 2), power + loud**2
    clear = (np.interp(times, at, voiced) > 0.5) & (power > power.max() * 10 ** (-FAINT_DB / 10))
    clear &= (first > VOICED[0] * np.sqrt(power)) & (hertz < sketch.HUM_HIGHEST)
    clear = torch.from_numpy(clear.reshape(columns, -1).mean(1) > 0.7)[:, None]
    harmonics = []
    for k, samples in enumerate(sketch.WAVES, 1):
        then = np.interp(np.arange(columns * samples) * (len(low) / RATE / columns / samples), times, phase)
        harmonics.append(2**0.5 * np.cos(k * then + (k - 1) * np.pi / 2).reshape(columns, samples))
    waves = sketch.waves(torch.from_numpy(made.astype(np.float32))[None], RATE)[0]
    harmonics = torch.from_numpy(np.concatenate(harmonics, 1).astype(np.float32))
    return InStep(*(torch.where(clear, x, torch.nan) for x in (harmonics, waves)))


def _pitch(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch (Hz, 0 where there is none) and at which times (s): six times a frame."""
    try:
        import pyworld
    except ImportError as error:
        raise ModuleNotFoundError(
            "pitch is found with the package pyworld, which only phase_train and --in-step need: `pip install pyworld "
            "'setuptools<81'` (it is built with a C++ compiler)"
        ) from error

    period_ms = 1000 * FRAME / SAMPLE_RATE / (2 * PER_FRAME)
    return pyworld.dio(sound, SAMPLE_RATE, LOWEST, HIGHEST, frame_period=period_ms, speed=4)


def _low(sound: np.ndarray, top: float) -> np.ndarray:
    """What is between the lowest fundamental and `top` Hz, `RATE` samples a second."""
    spectrum, freqs = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    spectrum[(freqs < LOWEST) | (freqs > top)] = 0
    n = len(sound) * RATE // SAMPLE_RATE
    return np.fft.irfft(spectrum[: n // 2 + 1], n) * (n / len(sound))


def _windows(sound: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest harmonics around these times: [points, window], and how many seconds each sample is from them."""
    low = np.pad(_low(sound, TOP), WINDOW)
    centres = np.round(times * RATE).astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(low, WINDOW)[centres + WINDOW // 2]
    return windows, (np.arange(WINDOW) - WINDOW // 2 + centres[:, None]) / RATE - times[:, None]


@torch.no_grad()
def make_room(codec: Codec, latents: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """Take the last codebook for phases. Of latents [n, dim] the directions that hardly vary become free; the new
    vectors are those of phases `told` [m, 6]. The other codes stay what they are. -> directions [inner, 6]."""
    rest = codec.quantizer.rvq_rest
    seen = latents @ rest.input_proj.weight[..., 0].T
    directions = torch.linalg.eigh(torch.cov(seen.T))[1][:, :NUMBERS]
    others = torch.eye(len(directions), device=directions.device) - directions @ directions.T
    rest.input_proj.weight.copy_((others @ rest.input_proj.weight[..., 0])[..., None])
    for book in rest.books[:-1]:
        book.embedding_sum.copy_(book.embedding_sum @ others)
    last = rest.books[-1]
    own = Codebook(len(last.cluster_usage), NUMBERS).to(told.device)
    own.start(told, rounds=30)
    last.cluster_usage.copy_(own.cluster_usage)
    last.embedding_sum.copy_(own.embedding_sum @ directions.T)
    # Hardly loud at first: what is behind has to learn what they mean.
    back = rest.output_proj.weight[..., 0]
    fresh = 0.3 * back.std() * torch.randn(len(back), NUMBERS, device=back.device)
    rest.output_proj.weight.copy_((back @ others + fresh @ directions.T)[..., None])
    return directions


@torch.no_grad()
def write(codec: Codec, directions: torch.Tensor, rows: torch.Tensor) -> None:
    """Into the free directions [inner, 6] what reads phases off a latent: `rows` [6, dim]."""
    rest = codec.quantizer.rvq_rest
    others = torch.eye(len(directions), device=directions.device) - directions @ directions.T
    rest.input_proj.weight.copy_((others @ rest.input_proj.weight[..., 0] + directions @ rows)[..., None])


def missed(made: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """Which share of the phases told [b, t, 6] is missed: 0 to 1, or more where they are worse than nothing."""
    return F.mse_loss(made, told, reduction="sum") / told.square().sum().clamp(min=1.0)
