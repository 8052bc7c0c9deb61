"""Conversations put together while the model trains: encoded lines of users (`lines`) and answers cut out of rendered
conversations. Every line meets every recording of its answer, in any order, after other pauses each time.

Sometimes the next line begins in the middle of an answer, which then ends at once. Murmurs and slow answers are not
composed: they come from whole conversations.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from .dialogues import answer_gap, user_pause
from .ear import Said
from .lines import BEFORE_S
from .paths import FRAME_RATE, folder
from .tokens import END_OF_PADDING, LEAD, PADDING

# An answer's text begins with an end of padding, and then leads its sound.
AHEAD = LEAD + 1
TAIL_S = 0.25
FOLLOW, AGAIN = 0.25, 0.04
MOST_PACE = 1.2
# How often somebody hesitates within a line, and for how many frames: synthesizers hardly do, people and other
# synthesizers do, and a model that has never heard it answers half a question.
HESITATES, HESITATION = 0.2, (2, 7)
# How often the next line breaks into an answer of `USUAL` frames (longer ones more often, up to `MORE` times, those
# below `LONG` never), and how often that line says stop.
CUT, STOP = 0.65, 0.5
LONG, USUAL, MORE = 18, 25, 1.4
# The agent must be silent from so many frames of a line on that breaks in. In this share of the cases it talks on for a
# frame, and so on: a model that has missed the first moment must know what to do in the next. Those frames are only
# seen, never learned.
GIVES_WAY, LATER = 3, 0.7
# How often a line asks for a story, an answer of so many frames at least: they are few, and what people break into.
STORY, STORIES = 40, 0.15
# After which share of an answer a line that breaks in begins with its silence, of `BEFORE_S`.
CUT_AT = (0.05, 0.85)


@dataclass(frozen=True)
class Item:
    """One conversation: streams [17, frames], the user's lines (first frame, last frame, what it says), and stretches
    (first frame, last frame) in which the agent does what it should not."""

    streams: np.ndarray
    lines: list[tuple[int, int, Said]]
    wrong: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    """A user's line: codes [8, frames], the frames between which it is spoken, and what it is."""

    codes: np.ndarray
    start: int
    end: int
    about: dict


def paced(line: Line, rng: np.random.Generator) -> Line:
    """Every second time the line a little faster or slower: frames left out or said twice, which costs nothing."""
    pace = rng.uniform(1 / MOST_PACE, MOST_PACE)
    if rng.random() < 0.5:
        return line
    at = (np.arange(round(line.codes.shape[1] / pace)) * pace).astype(int)
    codes = line.codes[:, np.minimum(at, line.codes.shape[1] - 1)]
    return Line(codes, int(line.start / pace), min(codes.shape[1], -int(-line.end // pace)), line.about)


def hesitant(line: Line, rng: np.random.Generator) -> Line:
    """Sometimes the line with a pause somewhere in it, of the background before it."""
    if line.end - line.start < 8 or rng.random() > HESITATES:
        return line
    at, pause = int(rng.integers(line.start + 3, line.end - 3)), int(rng.integers(*HESITATION))
    background = _stretch(line.codes[:, : max(2, line.start)], pause)
    codes = np.concatenate([line.codes[:, :at], background, line.codes[:, at:]], 1)
    return Line(codes, line.start, line.end + pause, line.about)


class Composer:
    """All lines and answers."""

    def __init__(self, codec: str, rng: np.random.Generator):
        self.folder, self.rng, self.seen = folder("lines", codec), rng, set()
        self.plain: list[Line] = []
        self.again: list[Line] = []
        self.stop: list[Line] = []
        self.stories: list[Line] = []
        self.follows: dict[str, list[Line]] = {}
        self.answers: dict[str, list[np.ndarray]] = {}
        self.silence: list[np.ndarray] = []

    def look_for_more(self) -> int:
        """Load shards of lines written since; returns how many lines there are."""
        for path in sorted(self.folder.glob("*.npz")):
            if path.stem in self.seen:
                continue
            self.seen.add(path.stem)
            codes, at = np.load(path)["codes"], 0
            shard = path.name.partition(".")[0]
            for about in json.loads((self.folder.parent / f"{shard}.json").read_text()):
                line = Line(codes[:, at : at + about["frames"]], about["start"], about["end"], about)
                at += about["frames"]
                kinds = {"follow": self.follows.setdefault(about["family"], []), "say again": self.again}
                kinds.get(about["topic"], self.plain).append(line)
                if about["topic"] == "stop":
                    self.stop.append(line)
        length = {answer: max(part.shape[1] for part in parts) for answer, parts in self.answers.items()}
        self.stories = [line for line in self.plain if length.get(line.about["answer"], 0) >= STORY]
        return len(self.plain)

    def take_answers(self, item: dict, streams: np.ndarray) -> None:
        """Cut the answers and the agent's silence out of a rendered conversation [17, frames] described by `item`."""
        starts = [x["answer_from"] for x in item["log"]]
        for i, turn in enumerate(item["log"]):
            until = starts[i + 1] if i + 1 < len(starts) else np.inf
            words = [w for w in item["words"] if starts[i] <= w[1] < until]
            if not words or turn["cut"] or turn["topic"] == "slower":
                continue
            first, last = int(words[0][1] * FRAME_RATE) - AHEAD, int((words[-1][2] + TAIL_S) * FRAME_RATE) + 1
            part = streams[:9, max(0, first) : last]
            # Where the last answer ran into this one's beginning there is no clean cut.
            if first > 0 and part[0, 0] == END_OF_PADDING and last <= streams.shape[1]:
                self.answers.setdefault(turn["answer"], []).append(part)
        quiet = int(starts[0] * FRAME_RATE) - AHEAD if starts else streams.shape[1]
        if quiet > 12:
            self.silence.append(streams[1:9, 1:quiet])

    def ready(self) -> bool:
        """Whether there is anything to compose."""
        return bool(self.silence) and any(line.about["answer"] in self.answers for line in self.plain)

    def line(self) -> Line:
        """Any line, at a pace of its own."""
        return hesitant(paced(self._pick(self.plain), self.rng), self.rng)

    def quiet(self, frames: int) -> np.ndarray:
        """The agent's silence, codes [8, frames]."""
        return _stretch(self._pick(self.silence), frames)

    def _pick(self, options: list):
        return options[int(self.rng.integers(len(options)))]

    def _next(self, last: Line | None, said: str) -> tuple[Line, str]:
        """A line that may follow, and its answer."""
        chance = self.rng.random()
        if last is not None and chance < AGAIN and self.again:
            return self._pick(self.again), said
        if self.stories and self.rng.random() < STORIES:
            return self._as_told(self._pick(self.stories))
        follows = self.follows.get(last.about["family"], []) if last is not None else []
        return self._as_told(self._pick(follows if follows and chance < AGAIN + FOLLOW else self.plain))

    @staticmethod
    def _as_told(line: Line) -> tuple[Line, str]:
        return line, line.about["answer"]

    def conversation(self) -> Item:
        """One to six exchanges; `ready` has said that there are some."""
        parts, lines, wrong, at, last, said, rest = [], [], [], 0, None, "", None
        count = int(self.rng.integers(1, 7))
        while len(parts) < count:
            stops = rest is not None and self.stop and self.rng.random() < STOP
            line, answer = self._as_told(self._pick(self.stop)) if stops else self._next(last, said)
            if answer not in self.answers:
                continue
            line = hesitant(paced(line, self.rng), self.rng)
            late = line.start + GIVES_WAY + int(self.rng.geometric(1 - LATER)) - 1
            if rest is not None:
                late = min(late, rest.shape[1], line.end)
                wrong.append((at + line.start + GIVES_WAY, at + late))
            part, rest = self._exchange(line, self._pick(self.answers[answer]), rest, late, len(parts) + 1 < count)
            lines.append((at + line.start, at + line.end, Said.of(line.about["question"])))
            parts.append(part)
            at += part.shape[1]
            if line.about["topic"] != "say again":
                last = line
            said = answer
        return Item(np.concatenate(parts, 1), lines, wrong)

    def _exchange(
        self, line: Line, answer: np.ndarray, rest: np.ndarray | None, late: int, goes_on: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Streams [17, frames] of a line, a gap, its answer and a pause. `rest` [9, n] of the answer before is heard
        until the agent gives way in frame `late`; where the talk `goes_on`, this answer may be broken into as well:
        then without a pause, and what would have followed of it is returned too."""
        begin = line.end + max(0, round(answer_gap(self.rng) * FRAME_RATE) - AHEAD)
        pause, left = max(0, round((user_pause(self.rng) - BEFORE_S) * FRAME_RATE)), None
        often = CUT * min(MORE, answer.shape[1] / USUAL)
        if goes_on and answer.shape[1] >= LONG and self.rng.random() < often:
            cut, pause = int(answer.shape[1] * self.rng.uniform(*CUT_AT)), 0
            answer, left = answer[:, :cut], answer[:, cut:]
        total = begin + answer.shape[1] + pause
        out = np.full((17, total), PADDING, np.int32)
        out[1:9] = self.quiet(total)
        out[:9, begin : begin + answer.shape[1]] = answer
        if rest is not None:
            out[:9, :late] = rest[:, :late]
        out[9:] = _stretch(line.codes, total, keep=line.end + 6)
        return out, left


def _stretch(codes: np.ndarray, frames: int, keep: int = 0) -> np.ndarray:
    """The first `frames` of codes [8, n]; what is missing repeats the frames from `keep` on, forth and back."""
    if codes.shape[1] >= frames:
        return codes[:, :frames]
    rest = codes[:, min(keep, codes.shape[1] - 2) :]
    turn = np.concatenate([rest[:, ::-1], rest], 1)
    repeats = -(-(frames - codes.shape[1]) // turn.shape[1])
    return np.concatenate([codes, np.tile(turn, repeats)], 1)[:, :frames]
