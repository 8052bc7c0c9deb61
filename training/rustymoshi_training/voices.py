"""Which voices are trained on and which are held out for judgement."""

import numpy as np

from .speech import VoiceSetting

AGENT = VoiceSetting()
ACCENTS = ("en-us", "en-us-nyc", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
# Not m5, m7 and f5, which are held out.
_VARIANTS = (
    "m1 m2 m3 m4 m6 m8 f1 f2 f3 f4 adam Alex Alicia Andrea Andy anika Annie antonio aunty belinda benjamin boris "
    "caleb david Denis ed edward Gene grandma grandpa Henrique Hugo iven Jacky john klatt2 klatt3 Lee linda Marcelo "
    "Marco Mario max Michael miguel Mike norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 "
    "travis victor Zac"
)
VARIANTS = _VARIANTS.split()
FLITE = ["slt", "rms", "kal16"]
RHVOICE = ["bdl", "clb"]
PICO = ["en-US", "en-GB"]
HELD_OUT_FESTIVAL = ["kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"]


def training_voice(rng: np.random.Generator) -> VoiceSetting:
    """A user: often the natural synthesizer with moved pitch and formants, else one of four others, moved as well."""
    draw = rng.random()
    if draw < 0.36:
        formant = rng.uniform(0.80, 1.16)
        pitch = np.clip(formant**2.2 * rng.uniform(0.76, 1.45), 0.45, 1.6)
        return VoiceSetting("hibari", "heart", rng.uniform(0.8, 1.3), float(pitch), float(formant))
    speed, pitch, formant = rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.4), rng.uniform(0.82, 1.22)
    if draw < 0.61:
        name = f"{ACCENTS[rng.integers(len(ACCENTS))]}+{VARIANTS[rng.integers(len(VARIANTS))]}"
        return VoiceSetting("espeak", name, speed, rng.uniform(0.5, 1.5), formant)
    engine, names = ("flite", FLITE) if draw < 0.81 else ("rhvoice", RHVOICE) if draw < 0.89 else ("pico", PICO)
    return VoiceSetting(engine, names[rng.integers(len(names))], speed, pitch, formant)


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
