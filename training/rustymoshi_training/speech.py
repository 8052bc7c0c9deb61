"""Synthesizers behind one call: text in, 24 kHz float32 speech out, with word times where the synthesizer knows them.

`Hibari` is the agent's voice; with another pitch and formant scale it is also many users. the others
(`COMMANDS`) are command line programs. Example: `Hibari().say("Hello there.")`.
"""

import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from xml.sax.saxutils import escape

import numpy as np
import soundfile
from scipy.signal import resample_poly

from .paths import SAMPLE_RATE, folder

HIBARI_HOP_S = 0.025
DURATIONS = "/Clip_output_0"


@dataclass
class Word:
    """One spoken word and its times in seconds from the start of the utterance."""

    text: str
    start: float
    end: float


@dataclass
class Utterance:
    """Mono float32 speech at 24 kHz and its words (empty where the synthesizer gives no times)."""

    wav: np.ndarray
    words: list[Word] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.wav) / SAMPLE_RATE


@dataclass(frozen=True)
class VoiceSetting:
    """How a voice speaks. `pitch` and `formant` scale frequencies, `speed` the pace; `engine` is one of `ENGINES`."""

    engine: str = "hibari"
    name: str = "heart"
    speed: float = 1.0
    pitch: float = 1.0
    formant: float = 1.0


@lru_cache(maxsize=1)
def _hibari_with_durations() -> str:
    """A copy of the packaged graph that also gives each phoneme's frames; returns its path."""
    import hibari
    import onnx

    path = folder("voices") / "hibari-durations.onnx"
    if not path.exists():
        model = onnx.load(os.path.join(os.path.dirname(hibari.__file__), "assets", "hibari.onnx"))
        model.graph.output.append(onnx.ValueInfoProto(name=DURATIONS))
        part = path.with_suffix(f".{os.getpid()}")
        onnx.save(model, part)
        os.replace(part, path)
    return str(path)


class Hibari:
    """The packaged "heart" voice with word times, and with pitch and formants that can be moved apart."""

    def __init__(self, threads: int = 1):
        import hibari

        self.tts = hibari.Hibari(model=_hibari_with_durations(), threads=threads)
        self._split = hibari.Hibari.split_sentences

    def say(self, text: str, setting: VoiceSetting = VoiceSetting(), seed: int = 0) -> Utterance:
        """Speak `text` sentence by sentence."""
        rng = np.random.default_rng(seed)
        parts, words, at = [], [], 0.0
        for sentence in self._split(text):
            phonemes = self.tts.g2p(sentence)
            if not phonemes:
                continue
            wav, frames = self._sentence(phonemes, setting, rng)
            words += _words_of(sentence, phonemes, frames, at)
            parts.append(wav)
            at += len(wav) / SAMPLE_RATE
        return Utterance(np.concatenate(parts) if parts else np.zeros(0, np.float32), words)

    def _sentence(self, phonemes: str, setting: VoiceSetting, rng):
        from hibari import dsp

        known = [c for c in phonemes if c in self.tts.vocab]
        ids = [0, *[self.tts.vocab[c] for c in known], 0]
        outputs = self.tts.sess.run(
            ["lh", "theta", "ln", "lr", "phi", "f0", DURATIONS],
            {"ids": np.asarray([ids], np.int64), "speed": np.asarray([setting.speed], np.float32)},
        )
        lh, theta, ln, lr, phi, f0 = (o[0] for o in outputs[:6])
        durations = dict(zip(_positions(phonemes, self.tts.vocab), outputs[6].reshape(-1)[1:-1], strict=False))
        if setting.formant != 1.0:
            lh, ln, lr = (_warp(x, setting.formant) for x in (lh, ln, lr))
        f0 = f0 * setting.pitch
        wav = dsp.synth(lh, theta, ln, lr, phi, f0, rng)
        lead = float(outputs[6].reshape(-1)[0])
        return wav.astype(np.float32), (lead, durations)


def _positions(phonemes, vocab):
    return [i for i, c in enumerate(phonemes) if c in vocab]


def _warp(spectrum: np.ndarray, scale: float) -> np.ndarray:
    """Stretch the frequency axis [bins, frames] by `scale`: formants move up with scale > 1."""
    bins = spectrum.shape[0]
    at = np.minimum(np.arange(bins) / scale, bins - 1.001)
    low = at.astype(int)
    part = (at - low)[:, None].astype(np.float32)
    return np.ascontiguousarray(spectrum[low] * (1 - part) + spectrum[low + 1] * part)


def _words_of(sentence: str, phonemes: str, frames, offset: float) -> list[Word]:
    """Word times from phoneme durations; proportional to spelling where words and phoneme groups do not pair up."""
    lead, durations = frames
    spans, at, start = [], lead, None
    for i, c in enumerate(phonemes):
        if c == " ":
            if start is not None:
                spans.append((start, at))
            start = None
        elif start is None:
            start = at
        at += float(durations.get(i, 0.0))
    if start is not None:
        spans.append((start, at))
    texts = sentence.split()
    if len(texts) != len(spans):
        total, run, first, last = sum(map(len, texts)), 0, spans[0][0], spans[-1][1]
        spans = []
        for text in texts:
            begin = first + (last - first) * run / total
            run += len(text)
            spans.append((begin, first + (last - first) * run / total))
    times = [(offset + a * HIBARI_HOP_S, offset + b * HIBARI_HOP_S) for a, b in spans]
    return [Word(text, a, b) for text, (a, b) in zip(texts, times, strict=True)]


def resample(wav: np.ndarray, rate: int) -> np.ndarray:
    """Any rate to 24 kHz."""
    if rate == SAMPLE_RATE:
        return wav.astype(np.float32)
    common = np.gcd(rate, SAMPLE_RATE)
    return resample_poly(wav, SAMPLE_RATE // common, rate // common).astype(np.float32)


def _run(command: list[str], text: str | None = None) -> np.ndarray:
    """Run a synthesizer that writes to the path which replaces "OUT"; returns its sound at 24 kHz."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        command = [out.name if part == "OUT" else part for part in command]
        done = subprocess.run(command, input=text, text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[:200]}")
        wav, rate = soundfile.read(out.name, dtype="float32")
    return resample(wav, rate)


def espeak(text: str, setting: VoiceSetting) -> Utterance:
    """espeak-ng; `name` is a voice with a variant such as `en-us+f3`."""
    words_per_minute, pitch = int(165 * setting.speed), int(np.clip(50 * setting.pitch, 0, 99))
    return Utterance(
        _run(["espeak-ng", "-v", setting.name, "-s", str(words_per_minute), "-p", str(pitch), "-w", "OUT", text])
    )


def flite(text: str, setting: VoiceSetting) -> Utterance:
    """CMU flite; `name` is one of awb, rms (whose pitch cannot be moved), slt, kal16."""
    moved = ["--setf", f"duration_stretch={1 / setting.speed:.3f}", "--setf", f"f0_shift={setting.pitch:.3f}"]
    return Utterance(_run(["flite", "-voice", setting.name, *moved, "-t", text, "-o", "OUT"]))


def festival(text: str, setting: VoiceSetting) -> Utterance:
    """Festival; `name` is a voice function without `voice_`, such as `cmu_us_slt_arctic_hts`."""
    stretch = f"(Parameter.set 'Duration_Stretch {1 / setting.speed:.3f})"
    return Utterance(_run(["text2wave", "-eval", f"(voice_{setting.name})", "-eval", stretch, "-o", "OUT"], text))


def rhvoice(text: str, setting: VoiceSetting) -> Utterance:
    """RHVoice; `name` is a voice such as bdl or clb."""
    moved = ["-r", str(round(100 * setting.speed)), "-t", str(round(100 * setting.pitch))]
    return Utterance(_run(["RHVoice-test", "-p", setting.name, *moved, "-o", "OUT"], text))


def pico(text: str, setting: VoiceSetting) -> Utterance:
    """SVOX Pico; `name` is a language such as en-US or en-GB."""
    speed, pitch = round(100 * setting.speed), round(100 * setting.pitch)
    marked = f'<speed level="{speed}"><pitch level="{pitch}">{escape(text)}</pitch></speed>'
    return Utterance(_run(["pico2wave", "-l", setting.name, "-w", "OUT", marked]))


COMMANDS = {"espeak": espeak, "flite": flite, "festival": festival, "rhvoice": rhvoice, "pico": pico}


class Studio:
    """All synthesizers; keeps the one loaded model. `say` also trims silent ends and shifts rate where asked."""

    def __init__(self):
        self.hibari = Hibari()

    def say(self, text: str, setting: VoiceSetting, seed: int = 0) -> Utterance:
        """Speak with any engine; the command line engines are moved in pitch and formants together by resampling."""
        if setting.engine == "hibari":
            return self.hibari.say(text, setting, seed)
        wav = COMMANDS[setting.engine](text, setting).wav
        if setting.formant != 1.0:
            wav = resample_poly(wav, 100, round(100 * setting.formant)).astype(np.float32)
        return Utterance(trim(wav))


def trim(wav: np.ndarray, floor: float = 0.01, keep: int = 1_200) -> np.ndarray:
    """Cut both ends where nothing exceeds `floor` of the peak, keeping 50 ms."""
    loud = np.flatnonzero(np.abs(wav) > floor * max(1e-6, float(np.abs(wav).max(initial=0.0))))
    if len(loud) == 0:
        return wav
    return wav[max(0, loud[0] - keep) : loud[-1] + keep]
