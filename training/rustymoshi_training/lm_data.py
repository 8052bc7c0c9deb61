"""Training batches of the language model: conversations in a row, cut into windows that begin like sessions."""

import json

import numpy as np
import torch

from .compose import Composer, Item
from .ear import Heard, Said
from .lm import LmConfig
from .paths import FRAME, FRAME_RATE, folder
from .streams import DELAYS, NOTHING, delayed, targets
from .tokens import END_OF_PADDING, PADDING, align, tokenizer

# A word's token weighs more than silence, but for silence while the user speaks: else a pause within a question is
# taken for its end as soon as that is likely by a fifth.
PADDING_WEIGHT, WORD_WEIGHT, LISTENING_WEIGHT = 0.4, 1.5, 1.5
# Of the frames of a line that breaks into an answer, from so many after its beginning on: there the agent must be
# silent, against all that it knows of the answer.
GIVING_WAY_WEIGHT, GIVES_WAY_AFTER = 3.0, 3
# Up to so many frames more than the ear needs stand between two lines of practice.
PRACTICE_GAP = 4
EAR_DELAY = 6
COMPOSED = 0.8


def initial_column(c: LmConfig) -> np.ndarray:
    """The initial token of every stream."""
    return np.array([c.text_card] + [c.card] * c.n_q)


class Conversations:
    """All encoded conversations, and compositions of their answers with encoded lines.

    `hide` hides part of what the model sees, as a trainer should.
    """

    def __init__(self, codec: str, config: LmConfig, seed: int, hide: bool = True):
        self.codec, self.config, self.rng, self.hide = codec, config, np.random.default_rng(seed), hide
        self.spm, self.seen, self.items = tokenizer(), set(), []
        self.composer = Composer(codec, self.rng)
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
                streams = np.concatenate([text[None], agent[:, at : at + n], user[:, at : at + n]]).astype(np.int32)
                lines = [
                    (int(x["asked_from"] * FRAME_RATE), int(x["asked_to"] * FRAME_RATE), Said.of(x["question"]))
                    for x in item["log"]
                ]
                self.items.append(Item(streams, lines))
                self.composer.take_answers(item, streams)
                at += n
        self.composer.look_for_more()
        return len(self.items)

    def _draw(self) -> Item:
        """A conversation, rendered whole or composed."""
        if self.composer.ready() and self.rng.random() < COMPOSED:
            return self.composer.conversation()
        return self.items[self.rng.integers(len(self.items))]

    def window(self, frames: int) -> Item:
        """[17, frames]: conversations one after another, mostly from the start of one."""
        parts, lines, wrong, total = [], [], [], 0
        while total < frames:
            item = self._draw()
            skip = self.rng.integers(item.streams.shape[1] // 2) if not parts and self.rng.random() < 0.3 else 0
            parts.append(item.streams[:, skip:])
            lines += [(a - skip + total, b - skip + total, words) for a, b, words in item.lines if a >= skip]
            wrong += [(a - skip + total, b - skip + total) for a, b in item.wrong if a >= skip]
            total += parts[-1].shape[1]
        return Item(np.concatenate(parts, 1)[:, :frames], lines, wrong)

    def batch(self, size: int, frames: int, depth_share: float):
        """(table [b, 17, t], goal [b, 9, t], depth rows, text weights [b, t], the user's lines)."""
        initial = initial_column(self.config)
        windows = [self.window(frames + 1) for _ in range(size)]
        tables = [delayed(x.streams, initial) for x in windows]
        goal = np.stack([targets(t, initial, 1 + self.config.dep_q) for t in tables])
        speaking = _near((goal[:, 0] != PADDING) & (goal[:, 0] != NOTHING))
        for i, window in enumerate(windows):
            forget(goal[i], window.wrong)
        table = np.stack([self._seen(t[:, :-1].copy()) for t in tables])
        lines = [
            # A word may be recognised some frames after it has been heard.
            Heard(i, a, b + EAR_DELAY, words)
            for i, x in enumerate(windows)
            for a, b, words in x.lines
            if b + EAR_DELAY <= frames
        ]
        weight = np.where(goal[:, 0] == PADDING, PADDING_WEIGHT, WORD_WEIGHT).astype(np.float32)
        for line in lines:
            broken_into = speaking[line.window, line.start]
            first = line.start + GIVES_WAY_AFTER - 1 if broken_into else line.start
            weight[line.window, first : line.end - EAR_DELAY] = GIVING_WAY_WEIGHT if broken_into else LISTENING_WEIGHT
        speaking = speaking.flatten()
        chance = np.where(speaking, 1.0, 0.12)
        count = int(depth_share * speaking.size)
        rows = self.rng.choice(speaking.size, size=count, replace=False, p=chance / chance.sum())
        return (
            torch.from_numpy(table).long(),
            torch.from_numpy(goal).long(),
            torch.from_numpy(np.sort(rows)),
            torch.from_numpy(weight),
            lines,
        )

    def practice(self, size: int, frames: int) -> tuple[torch.Tensor, list[Heard]]:
        """(table [b, 17, t], the user's lines): nothing but users' lines, one soon after the other, while the agent is
        silent. Twice the words of a conversation, for a model that still learns to understand."""
        tables, heard = [], []
        for window in range(size):
            out = np.full((17, frames), PADDING, np.int32)
            out[1:9] = self.composer.quiet(frames)
            at = 1
            while True:
                codes, words = self._line()
                if at + codes.shape[1] > frames:
                    break
                out[9:, at : at + codes.shape[1]] = codes
                heard.append(Heard(window, at, at + codes.shape[1], words))
                at += codes.shape[1]
            out[9:, at:] = codes[:, : frames - at]
            tables.append(self._seen(delayed(out, initial_column(self.config))))
        return torch.from_numpy(np.stack(tables)).long(), heard

    def _line(self) -> tuple[np.ndarray, Said]:
        """Codes [8, frames] and words of a line, from a conversation or alone, with a few frames after it."""
        after = EAR_DELAY + int(self.rng.integers(PRACTICE_GAP))
        if self.composer.ready() and self.rng.random() < COMPOSED:
            line = self.composer.line()
            return line.codes[:, max(0, line.start - 2) : line.end + after], Said.of(line.about["question"])
        item = self.items[self.rng.integers(len(self.items))]
        while not item.lines:
            item = self.items[self.rng.integers(len(self.items))]
        start, end, words = item.lines[self.rng.integers(len(item.lines))]
        return item.streams[9:, max(0, start - 2) : end + after], words

    def _seen(self, table: np.ndarray) -> np.ndarray:
        """The table with frames of both voices and the user's finer codebooks hidden at random, so that the model
        neither knows recordings by their details nor reads its next word off its own voice."""
        if not self.hide:
            return table
        rng, first_user = self.rng, 1 + self.config.dep_q
        user, agent = table[first_user:], table[1:first_user]
        if rng.random() < 0.5:
            user[rng.integers(1, len(user)) :] = NOTHING
        user[:, rng.random(table.shape[1]) < rng.uniform(0, 0.15)] = NOTHING
        agent[:, rng.random(table.shape[1]) < rng.uniform(0, 0.2)] = NOTHING
        return table


def forget(goal: np.ndarray, wrong: list[tuple[int, int]]) -> None:
    """Take out of the targets [9, t] what the agent does in these frames: it is seen, and not learned."""
    for row, delay in enumerate(DELAYS[: len(goal)]):
        for start, end in wrong:
            goal[row, start + delay - 1 : max(start, end) + delay - 1] = NOTHING


def _near(word: np.ndarray, after: int = 8) -> np.ndarray:
    """Frames within `after` frames after a word token [b, t]: roughly where the agent speaks."""
    out = word.copy()
    for shift in range(1, after + 1):
        out[:, shift:] |= word[:, :-shift]
    return out


__all__ = ["END_OF_PADDING", "FRAME", "Conversations", "initial_column"]
