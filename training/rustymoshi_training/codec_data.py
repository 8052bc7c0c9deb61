"""What the codec trains on: crops of the corpus with the teacher's features, and users' lines with what they say."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from . import augment
from .corpus import GROUPS, TEACHER_DIM
from .ear import Heard, Said
from .paths import FRAME, FRAME_RATE, folder

WEIGHTS = {"agent": 0.52, "users": 0.12, "recordings": 0.32, "noise": 0.04}
# Frames behind a line in which the encoder may still write down what it heard.
LATE = 3


@dataclass(frozen=True)
class Batch:
    """pcm [b, 1, samples], what it is to sound like [b, samples] (of a user the voice alone), teacher [b, frames, 384]
    (zero where there is none), and what is said where."""

    pcm: torch.Tensor
    wanted: torch.Tensor
    teacher: torch.Tensor
    lines: list[Heard]


class Corpus:
    """Random crops of whole frames from all groups, with the teacher's features of the same frames."""

    def __init__(self, frames: int, rng: np.random.Generator, agent: float):
        self.frames, self.rng, self.agent = frames, rng, agent
        self.look_for_more()

    def look_for_more(self) -> None:
        """Take the groups and features that are there; those who make them may still be at work."""
        sounds = {g: folder("codec") / f"{g}.npy" for g in GROUPS}
        features = {g: path.with_suffix(".teacher.npy") for g, path in sounds.items()}
        self.teacher = {g: np.load(path, mmap_mode="r") for g, path in features.items() if path.exists()}
        self.mean, self.std = np.float32(0), np.float32(1)
        if "agent" in self.teacher:
            sample = np.asarray(self.teacher["agent"][::7], np.float32)
            self.mean, self.std = sample.mean(0), sample.std(0) + 1e-3
        self.audio = {g: np.load(path, mmap_mode="r") for g, path in sounds.items() if path.exists()}
        if not self.audio:
            raise FileNotFoundError(f"no speech in {folder('codec')}: make it first with rustymoshi_training.corpus")
        weights = np.array([WEIGHTS[g] * (self.agent if g == "agent" else 1.0) for g in self.audio])
        self.groups, self.weights = list(self.audio), weights / weights.sum()

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """(pcm [samples], features [frames, 384])."""
        group = str(self.rng.choice(self.groups, p=self.weights))
        start = int(self.rng.integers(len(self.audio[group]) // FRAME - self.frames))
        pcm = self.audio[group][start * FRAME : (start + self.frames) * FRAME].astype(np.float32) / 32768
        features = np.zeros((self.frames, TEACHER_DIM), np.float32)
        if group in self.teacher:
            features = (self.teacher[group][start : start + self.frames].astype(np.float32) - self.mean) / self.std
        return pcm, features


class Lines:
    """Users' lines, behind another room, microphone and noise each time. New shards are taken in as they come."""

    def __init__(self, frames: int, rng: np.random.Generator):
        self.frames, self.rng = frames, rng
        self.seen: set[str] = set()
        self.lines: list[tuple[np.ndarray, int, dict]] = []
        self.look_for_more()

    def look_for_more(self) -> int:
        """Load shards written since; returns how many lines fit into a crop."""
        for path in sorted(folder("lines").glob("*.npy")):
            if path.stem in self.seen:
                continue
            self.seen.add(path.stem)
            sound, at = np.load(path, mmap_mode="r"), 0
            for about in json.loads(path.with_suffix(".json").read_text()):
                if about["end"] + LATE - about["start"] < self.frames:
                    self.lines.append((sound, at, about))
                at += about["frames"] * FRAME
        return len(self.lines)

    def draw(self, window: int) -> tuple[np.ndarray, np.ndarray, Heard]:
        """(what the microphone hears [samples], the voice alone, where in window `window` which line is said)."""
        sound, at, about = self.lines[int(self.rng.integers(len(self.lines)))]
        samples, length = self.frames * FRAME, about["frames"] * FRAME
        first = max(0, (about["end"] + LATE) * FRAME - samples)
        last = max(first, min(about["start"] * FRAME, length - samples))
        skip = int(self.rng.integers(first, last + 1))
        wav = sound[at + skip : at + min(length, skip + samples)].astype(np.float32) / 32768
        wav, voice = augment.heard(np.pad(wav, (0, samples - len(wav))), self.rng)
        start = max(0, about["start"] - skip // FRAME - 1)
        end = min(self.frames, about["end"] - skip // FRAME + LATE)
        return wav, voice, Heard(window, start, end, Said.of(about["question"]))


class Answers:
    """The agent's answers in rendered conversations, in a row: what decoders will say. Half of the crops begin with a
    frame, as answers do, and half anywhere."""

    def __init__(self, frames: int, rng: np.random.Generator):
        self.frames, self.rng = frames, rng
        self.sound = np.zeros(0, np.int16)

    def load(self) -> None:
        """Take all of them, once there is need for them."""
        parts = []
        for path in sorted(folder("dialogues").glob("*.npz")):
            agent, at = np.load(path)["agent"], 0
            for item in json.loads(path.with_suffix(".json").read_text()):
                for first, last in _spoken(item):
                    parts.append(agent[(at + first) * FRAME : (at + last) * FRAME])
                at += item["frames"]
        if not parts:
            raise FileNotFoundError(f"no answers in {folder('dialogues')}: make some with rustymoshi_training.render")
        self.sound = np.concatenate(parts)

    def draw(self) -> np.ndarray:
        """Samples of a crop."""
        if len(self.sound) == 0:
            self.load()
        start = int(self.rng.integers(len(self.sound) - self.frames * FRAME))
        if self.rng.random() < 0.5:
            start -= start % FRAME
        return self.sound[start : start + self.frames * FRAME].astype(np.float32) / 32768


def _spoken(item: dict) -> list[tuple[int, int]]:
    """The frames of every answer of a conversation, a little silence around them."""
    starts = [round(turn["answer_from"] * FRAME_RATE) for turn in item["log"]]
    out = []
    for first, until in pairwise([*starts, item["frames"]]):
        words = [w for w in item["words"] if first <= w[1] * FRAME_RATE + 1 < until + 1]
        if words:
            out.append((max(0, first - 2), min(until, int(words[-1][2] * FRAME_RATE) + 6)))
    return out


class Sounds:
    """Batches of all, the next one made while the last is trained on; `answers` of a batch are the agent's."""

    def __init__(self, frames: int, seed: int, agent: float, answers: int = 0):
        rng = np.random.default_rng(seed)
        self.corpus, self.lines, self.answers = Corpus(frames, rng, agent), Lines(frames, rng), Answers(frames, rng)
        self.said = answers

    def batch(self, size: int, lines: int) -> Batch:
        """As many users' lines as asked for and crops of the corpus, `size` together."""
        frames, heard, wanted = self.corpus.frames, [], []
        pcm, teacher = [], np.zeros((size, frames, TEACHER_DIM), np.float32)
        lines = lines if self.lines.lines else 0
        for window in range(lines):
            wav, voice, said = self.lines.draw(window)
            pcm.append(wav)
            wanted.append(voice)
            heard.append(said)
        for window in range(lines, size):
            if window < lines + self.said:
                pcm.append(self.answers.draw())
                continue
            wav, teacher[window] = self.corpus.draw()
            pcm.append(wav)
        wanted += pcm[lines:]
        sounds = torch.from_numpy(np.stack(pcm))[:, None]
        return Batch(sounds, torch.from_numpy(np.stack(wanted)), torch.from_numpy(teacher), heard)

    def batches(self, size: int, lines: int) -> Iterator[Batch]:
        """One after the other without end."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.batch, size, lines)
            while True:
                batch, coming = coming.result(), pool.submit(self.batch, size, lines)
                yield batch

    def look_for_more(self) -> None:
        """Take in what was made since."""
        self.corpus.look_for_more()
        self.lines.look_for_more()
