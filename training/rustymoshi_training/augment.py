"""What stands between a voice and the microphone: rooms, curves, levels, noise; seeded by the caller's generator."""

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from .paths import SAMPLE_RATE


def normalise(wav: np.ndarray, rms_db: float) -> np.ndarray:
    """Scale so that the loud parts (above a tenth of the peak) have this RMS level, without clipping."""
    loud = wav[np.abs(wav) > 0.1 * max(1e-9, float(np.abs(wav).max(initial=0.0)))]
    if len(loud) == 0:
        return wav
    wav = wav * (10 ** (rms_db / 20) / max(1e-9, float(np.sqrt(np.mean(loud**2)))))
    peak = float(np.abs(wav).max())
    return (wav * min(1.0, 0.98 / peak)).astype(np.float32)


def room(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve with a drawn room response: direct sound and exponentially fading noise (0.1 to 0.5 s)."""
    seconds = rng.uniform(0.1, 0.5)
    n = int(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * rng.uniform(0.01, 0.05)
    tail[: int(0.002 * SAMPLE_RATE)] = 0
    tail[0] = 1.0
    return fftconvolve(wav, tail)[: len(wav)].astype(np.float32)


def microphone(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A drawn frequency curve: low cut, high cut, a broad bump."""
    low, high = rng.uniform(40, 250), rng.uniform(3_500, 11_000)
    wav = sosfilt(butter(2, low, "high", fs=SAMPLE_RATE, output="sos"), wav)
    wav = sosfilt(butter(2, high, "low", fs=SAMPLE_RATE, output="sos"), wav)
    centre = rng.uniform(300, 5_000)
    band = sosfilt(butter(1, [centre * 0.6, min(centre * 1.6, 11_500)], "band", fs=SAMPLE_RATE, output="sos"), wav)
    return (wav + rng.uniform(-0.5, 1.0) * band).astype(np.float32)


def noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` samples of drawn noise with RMS 1: coloured hiss, mains hum, clicks or slow wind."""
    freqs = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    slope = rng.uniform(0.0, 1.2)
    shape = 1.0 / np.maximum(freqs, 30.0) ** slope
    spectrum = shape * (rng.standard_normal(len(freqs)) + 1j * rng.standard_normal(len(freqs)))
    wav = np.fft.irfft(spectrum, n)
    kind = rng.integers(5)
    t = np.arange(n) / SAMPLE_RATE
    wav /= max(1e-9, wav.std())
    if kind == 1:
        base = rng.choice([50.0, 60.0, 100.0, 120.0])
        wav = 0.3 * wav + sum(np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6)) / k for k in range(1, 6))
    elif kind == 2:
        clicks = np.zeros(n)
        at = rng.integers(0, n, size=max(1, int(rng.uniform(0.5, 6) * n / SAMPLE_RATE)))
        clicks[at] = rng.uniform(10, 60, size=len(at)) * rng.choice([-1, 1], size=len(at))
        body = np.exp(-np.arange(600) / rng.uniform(10, 150)) * rng.standard_normal(600)
        wav = 0.3 * wav + fftconvolve(clicks, body)[:n]
    elif kind == 3:
        wav = wav * (1.0 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * t))
    return (wav / max(1e-9, wav.std())).astype(np.float32)


def music(n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` samples of a simple drawn melody with chords, RMS 1."""
    wav, t, at = np.zeros(n, np.float32), None, 0
    beat = int(rng.uniform(0.2, 0.5) * SAMPLE_RATE)
    root = rng.uniform(110, 330)
    while at < n:
        length = min(beat * int(rng.integers(1, 4)), n - at)
        t = np.arange(length) / SAMPLE_RATE
        step = rng.choice([0, 2, 4, 5, 7, 9, 12])
        tone = sum(
            np.sin(2 * np.pi * root * 2 ** ((step + s) / 12) * h * t) / h**1.5 for s in (0, 4, 7) for h in (1, 2, 3)
        )
        wav[at : at + length] += (tone * np.exp(-2.0 * t)).astype(np.float32)
        at += length
    return wav / max(1e-9, float(wav.std()))


def heard(wav: np.ndarray, rng: np.random.Generator, clean: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """One user's whole microphone signal, and the voice alone at the same level. With probability `clean` they are the
    same, else room, curve and noise are in the first."""
    level = rng.uniform(-32, -16)
    voice = wav = normalise(wav, level)
    if rng.random() < clean:
        return wav, voice
    if rng.random() < 0.4:
        wav = normalise(room(wav, rng), level)
    if rng.random() < 0.5:
        wav = normalise(microphone(wav, rng), level)
    if rng.random() < 0.7:
        wav = wav + noise(len(wav), rng) * 10 ** ((level - rng.uniform(12, 40)) / 20)
    return np.clip(wav, -1, 1).astype(np.float32), voice


def line(wav: np.ndarray, rng: np.random.Generator, clean: float = 0.4) -> np.ndarray:
    """One user's whole microphone signal."""
    return heard(wav, rng, clean)[0]
