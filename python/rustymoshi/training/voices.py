"""Which voices are trained on and which are held out for judgement."""

import numpy as np

from .speech import VoiceSetting

AGENT = VoiceSetting()
ESPEAK = [
    f"{accent}+{variant}"
    for accent in ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")
    for variant in (
        "m1",
        "m2",
        "m3",
        "m4",
        "m6",
        "f1",
        "f2",
        "f3",
        "f4",
        "belinda",
        "edward",
        "steph",
        "Annie",
        "Denis",
        "linda",
        "max",
    )
]
FLITE = ["slt", "rms", "kal16"]
HELD_OUT_FESTIVAL = ["kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"]


def training_voice(rng: np.random.Generator) -> VoiceSetting:
    """A user: mostly the natural synthesizer with moved pitch and formants, else espeak-ng or flite."""
    draw = rng.random()
    if draw < 0.5:
        formant = rng.uniform(0.80, 1.16)
        pitch = np.clip(formant**2.2 * rng.uniform(0.75, 1.25), 0.45, 1.5)
        return VoiceSetting("hibari", "heart", rng.uniform(0.8, 1.3), float(pitch), float(formant))
    if draw < 0.73:
        name = ESPEAK[rng.integers(len(ESPEAK))]
        return VoiceSetting("espeak", name, rng.uniform(0.8, 1.2), rng.uniform(0.5, 1.5), rng.uniform(0.87, 1.16))
    return VoiceSetting("flite", FLITE[rng.integers(len(FLITE))], rng.uniform(0.8, 1.2), 1.0, rng.uniform(0.82, 1.2))


def held_out_voice(rng: np.random.Generator) -> VoiceSetting:
    """Settings outside the trained ranges or names of synthesizers that were trained on."""
    draw = rng.integers(3)
    if draw == 0:
        formant, pitch = ((0.78, 0.5), (1.18, 1.3), (0.9, 1.2), (1.1, 0.9))[rng.integers(4)]
        return VoiceSetting("hibari", "heart", rng.uniform(0.85, 1.2), pitch, formant)
    if draw == 1:
        return VoiceSetting(
            "espeak", ("en-us+m7", "en-us+f5", "en-029+m5")[rng.integers(3)], rng.uniform(0.85, 1.1), 1.0
        )
    return VoiceSetting("flite", "awb", rng.uniform(0.9, 1.1))


def new_synthesizer_voice(rng: np.random.Generator) -> VoiceSetting:
    """A synthesizer that no training data came from."""
    return VoiceSetting("festival", HELD_OUT_FESTIVAL[rng.integers(len(HELD_OUT_FESTIVAL))], rng.uniform(0.9, 1.1))
