"""Training batches of the language model: conversations in a row, cut into windows that begin like sessions."""

import json

import numpy as np
import torch

from .lm import LmConfig
from .paths import FRAME, folder
from .streams import delayed, targets
from .tokens import END_OF_PADDING, PADDING, align, tokenizer

PADDING_WEIGHT, WORD_WEIGHT = 0.4, 1.5


def initial_column(c: LmConfig) -> np.ndarray:
    """The initial token of every stream."""
    return np.array([c.text_card] + [c.card] * c.n_q)


class Conversations:
    """All encoded conversations as arrays [17, frames]."""

    def __init__(self, codec: str, config: LmConfig, seed: int):
        self.codec, self.config, self.rng = codec, config, np.random.default_rng(seed)
        self.spm, self.seen, self.items = tokenizer(), set(), []
        self.look_for_more()

    def look_for_more(self) -> int:
        """Load shards that were encoded since; returns how many conversations there are."""
        for path in sorted(folder("codes", self.codec).glob("*.npz")):
            about = folder("dialogues") / f"{path.stem}.json"
            if path.stem in self.seen or not about.exists():
                continue
            self.seen.add(path.stem)
            data, at = np.load(path), 0
            user, agent = data["user"], data["agent"]
            for item in json.loads(about.read_text()):
                n = item["frames"]
                text = align(item["words"], n, lambda w: self.spm.encode(w))
                self.items.append(
                    np.concatenate([text[None], agent[:, at : at + n], user[:, at : at + n]]).astype(np.int32)
                )
                at += n
        return len(self.items)

    def window(self, frames: int) -> np.ndarray:
        """[17, frames]: conversations one after another, mostly from the start of one."""
        parts, total = [], 0
        while total < frames:
            item = self.items[self.rng.integers(len(self.items))]
            if not parts and self.rng.random() < 0.3:
                item = item[:, self.rng.integers(item.shape[1] // 2) :]
            parts.append(item)
            total += item.shape[1]
        return np.concatenate(parts, 1)[:, :frames]

    def batch(self, size: int, frames: int, depth_share: float):
        """(table [b, 17, t], goal [b, 9, t], depth rows, text weights [b, t])."""
        initial = initial_column(self.config)
        tables = [delayed(self.window(frames + 1), initial) for _ in range(size)]
        goal = np.stack([targets(t, initial, 1 + self.config.dep_q) for t in tables])
        table = np.stack([t[:, :-1] for t in tables])
        weight = np.where(goal[:, 0] == PADDING, PADDING_WEIGHT, WORD_WEIGHT).astype(np.float32)
        speaking = _near(goal[:, 0] != PADDING).flatten()
        chance = np.where(speaking, 1.0, 0.12)
        count = int(depth_share * speaking.size)
        rows = self.rng.choice(speaking.size, size=count, replace=False, p=chance / chance.sum())
        return (
            torch.from_numpy(table).long(),
            torch.from_numpy(goal).long(),
            torch.from_numpy(np.sort(rows)),
            torch.from_numpy(weight),
        )


def _near(word: np.ndarray, after: int = 8) -> np.ndarray:
    """Frames within `after` frames after a word token [b, t]: roughly where the agent speaks."""
    out = word.copy()
    for shift in range(1, after + 1):
        out[:, shift:] |= word[:, :-shift]
    return out


__all__ = ["END_OF_PADDING", "FRAME", "Conversations", "initial_column"]
