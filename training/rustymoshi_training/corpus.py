"""The codec's corpus: groups of speech as int16 streams on disk, each with the recogniser's features per codec frame.

`python -m rustymoshi_training.corpus` builds what is missing; a finished group is never made again.
"""

import argparse
import subprocess
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import augment, texts, voices
from .paths import AGENT_LEVEL_DB, FRAME, SAMPLE_RATE, folder, replace_atomically
from .questions import Bank
from .speech import Studio, VoiceSetting, resample

GROUPS = {"agent": 60, "users": 40, "recordings": 70, "noise": 6}
RECORDINGS = ("en_US_f_Allison", "es_MX_f_Allison", "fr_CA_f_June", "it_IT_m_Carlo", "ru_RU_f_IvrvoiceRU")
TEACHER_DIM = 384
# How much of what the agent's voice says are answers.
ANSWERS = 0.4


def utterances(group: str, seed: int):
    """Endless stream of waveforms of one group; augmented except for most of the agent's."""
    rng = np.random.default_rng(seed)
    if group == "recordings":
        yield from _recordings(rng)
        return
    if group == "noise":
        while True:
            n = int(rng.uniform(2, 6) * SAMPLE_RATE)
            kind = rng.random()
            wav = np.zeros(n, np.float32) if kind < 0.25 else (augment.music if kind > 0.85 else augment.noise)(n, rng)
            yield wav * np.float32(10 ** (rng.uniform(-65, -22) / 20))
    studio, prose, bank = Studio(), texts.prose(), Bank()
    while True:
        kind = rng.random()
        if group == "agent" and kind < ANSWERS:
            text = bank.any(rng).answer
        else:
            text = prose[rng.integers(len(prose))] if kind < 0.7 else texts.salad(rng)
        setting = _setting(group, rng)
        wav = studio.say(text, setting, int(rng.integers(1 << 30))).wav
        if group == "agent":
            level = AGENT_LEVEL_DB + rng.uniform(-3, 3)
            wav = augment.normalise(wav, level) if rng.random() < 0.85 else augment.line(wav, rng)
        else:
            wav = augment.line(wav, rng)
        yield wav


def _setting(group: str, rng) -> VoiceSetting:
    return VoiceSetting(speed=float(rng.uniform(0.9, 1.1))) if group == "agent" else voices.training_voice(rng)


def _recordings(rng):
    """Real speakers from the asterisk prompts (16 kHz), shuffled."""
    import soundfile

    cache = folder("codec", "recordings")
    for speaker in RECORDINGS:
        source = Path("/usr/share/asterisk/sounds") / speaker
        target = cache / speaker
        if source.exists() and not target.exists():
            target.mkdir()
            for file in sorted(source.rglob("*.g722")):
                out = target / ("_".join(file.relative_to(source).parts) + ".wav")
                subprocess.run(
                    ["ffmpeg", "-loglevel", "error", "-y", "-f", "g722", "-i", str(file), "-ar", "24000", str(out)],
                    check=True,
                )
    files = sorted(cache.rglob("*.wav"))
    for i in rng.permutation(len(files)):
        wav, rate = soundfile.read(files[i], dtype="float32")
        if len(wav) > SAMPLE_RATE // 2 and np.abs(wav).max() > 0.02:
            yield augment.line(resample(wav, rate), rng, clean=0.7)


def build(group: str, minutes: float, seed: int) -> None:
    """Write `codec/<group>.npy`: int16 samples, whole codec frames, utterances with short pauses between."""
    path = folder("codec") / f"{group}.npy"
    if path.exists():
        return
    rng, parts, total = np.random.default_rng(seed + 1), [], 0
    target = int(minutes * 60 * SAMPLE_RATE)
    with tqdm(total=int(minutes * 60), desc=f"speech: {group}", unit="s", mininterval=5) as bar:
        for wav in utterances(group, seed):
            pause = np.zeros(int(rng.uniform(0.05, 0.5) * SAMPLE_RATE), np.float32)
            piece = (np.clip(np.concatenate([wav, pause]), -1, 1) * 32767).astype(np.int16)
            parts.append(piece)
            total += len(piece)
            bar.update(len(piece) // SAMPLE_RATE)
            if total >= target:
                break
    samples = np.concatenate(parts)
    samples = samples[: len(samples) // FRAME * FRAME]
    replace_atomically(path, lambda part: _save(part, samples))


def _save(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array)


def build_teacher(group: str) -> None:
    """Write `codec/<group>.teacher.npy`: the recogniser's encoder features, [frames, 384] at 12.5 Hz."""
    path = folder("codec") / f"{group}.teacher.npy"
    if path.exists():
        return
    from .recognise import Recogniser

    encoder = Recogniser()
    samples = np.load(folder("codec") / f"{group}.npy", mmap_mode="r")
    frames, block = len(samples) // FRAME, 375
    out = np.zeros((frames, TEACHER_DIM), np.float16)
    for start in tqdm(range(0, frames, block), desc=f"teacher: {group}", mininterval=5):
        count = min(block, frames - start)
        wav = samples[start * FRAME : (start + count) * FRAME].astype(np.float32) / 32768
        out[start : start + count] = encoder.features(wav)[:count]
    replace_atomically(path, lambda part: _save(part, out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="*", default=list(GROUPS))
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every group's minutes")
    parser.add_argument("--no-teacher", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for i, group in enumerate(args.groups):
        build(group, GROUPS[group] * args.scale, args.seed + 100 * i)
    if not args.no_teacher:
        for group in args.groups:
            build_teacher(group)


if __name__ == "__main__":
    main()
