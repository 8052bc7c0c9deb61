"""Scripts to sound: two channels per conversation and the times of the agent's words.

`python -m rustymoshi_training.render --shards 40` writes shards of 50 conversations and skips those that exist.
"""

import argparse
import json
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from . import augment, voices
from .dialogues import Turn, script
from .paths import AGENT_LEVEL_DB, FRAME, FRAME_RATE, SAMPLE_RATE, folder, replace_atomically
from .questions import Bank, Exchange
from .speech import Studio, Utterance, VoiceSetting, trim

PER_SHARD = 50
LEAD_S = 0.04
# An answer begins with a frame, and its noise is one of so many draws: else the same words had other codes each time,
# by nothing but chance, and a small model learned late to speak them.
TAKES = 3
MURMURS = ["mm-hm", "uh huh", "yeah", "right"]


@dataclass
class Conversation:
    """Both channels (int16, equally long, whole frames), the agent's words (text, start, end) and what was said."""

    user: np.ndarray
    agent: np.ndarray
    words: list[tuple[str, float, float]]
    log: list[dict] = field(default_factory=list)


class Stage:
    """Places utterances of both sides on one clock."""

    def __init__(self, studio: Studio, rng: np.random.Generator, voice: VoiceSetting):
        self.studio, self.rng, self.voice = studio, rng, voice
        self.user: list[tuple[float, np.ndarray]] = []
        self.agent: list[tuple[float, np.ndarray]] = []
        self.words, self.log, self.now = [], [], 0.0

    def answer_of(self, text: str, speed: float) -> Utterance:
        """The agent's speech, at its level, beginning at most 40 ms before the first word, in one of few takes."""
        said = self.studio.hibari.say(text, VoiceSetting(speed=speed), int(self.rng.integers(TAKES)))
        lead = max(0.0, said.words[0].start - LEAD_S)
        wav = augment.normalise(said.wav[int(lead * SAMPLE_RATE) :], AGENT_LEVEL_DB)
        for word in said.words:
            word.start, word.end = word.start - lead, word.end - lead
        return Utterance(wav, said.words)

    def play(self, turn: Turn) -> None:
        """One exchange; `now` moves to the end of the answer (or to where the user breaks in)."""
        asked = trim(self.studio.say(turn.exchange.question, self.voice, int(self.rng.integers(1 << 30))).wav)
        begin = self.now + turn.pause_before
        self.user.append((begin, asked))
        end = begin + len(asked) / SAMPLE_RATE
        answer = self.answer_of(turn.exchange.answer, turn.answer_speed)
        at = np.ceil((end + turn.answer_after) * FRAME_RATE) / FRAME_RATE
        wav, stop = answer.wav, at + answer.seconds
        if turn.cut is not None:
            self.now = at + turn.cut * answer.seconds
            stop = min(stop, self.now + self.rng.uniform(0.16, 0.30))
            wav = _fade(wav[: int((stop - at) * SAMPLE_RATE)])
        else:
            self.now = at + answer.seconds
        if turn.back_channel and answer.seconds > 1.5:
            murmur = trim(self.studio.say(MURMURS[self.rng.integers(len(MURMURS))], self.voice).wav) * np.float32(0.35)
            self.user.append((at + answer.seconds * self.rng.uniform(0.3, 0.6), murmur))
        self.agent.append((at, wav))
        self.words += [(w.text, at + w.start, at + w.end) for w in answer.words if at + w.start < stop]
        self.log.append(
            dict(
                question=turn.exchange.question,
                answer=turn.exchange.answer,
                topic=turn.exchange.topic,
                asked_from=begin,
                asked_to=end,
                answer_from=at,
                cut=turn.cut is not None,
            )
        )

    def finish(self, tail: float) -> Conversation:
        """Mix down, put the user behind a microphone, pad to whole frames."""
        seconds = max([self.now, *[t + len(w) / SAMPLE_RATE for t, w in self.user + self.agent]]) + tail
        n = int(np.ceil(seconds * SAMPLE_RATE / FRAME)) * FRAME
        agent, user = _mix(self.agent, n), _mix(self.user, n)
        user = augment.line(user, self.rng) if self.user else _background(n, self.rng)
        if self.rng.random() < 0.1:
            delay = int(self.rng.uniform(0.03, 0.2) * SAMPLE_RATE)
            user[delay:] += agent[:-delay] * np.float32(10 ** (self.rng.uniform(-40, -22) / 20))
        return Conversation(_int16(user), _int16(agent), self.words, self.log)


def _fade(wav: np.ndarray, samples: int = 960) -> np.ndarray:
    wav = wav.copy()
    ramp = min(samples, len(wav))
    wav[len(wav) - ramp :] *= np.linspace(1, 0, ramp, dtype=np.float32)
    return wav


def _mix(pieces, n: int) -> np.ndarray:
    out = np.zeros(n, np.float32)
    for at, wav in pieces:
        start = int(at * SAMPLE_RATE)
        out[start : start + len(wav)] += wav[: n - start]
    return out


def _background(n: int, rng) -> np.ndarray:
    """A user who says nothing: silence, noise or music."""
    kind = rng.random()
    if kind < 0.3:
        return np.zeros(n, np.float32)
    wav = augment.music(n, rng) if kind > 0.85 else augment.noise(n, rng)
    return wav * np.float32(10 ** (rng.uniform(-65, -25) / 20))


def _int16(wav: np.ndarray) -> np.ndarray:
    return (np.clip(wav, -1, 1) * 32767).astype(np.int16)


def conversation(studio: Studio, bank: Bank, seed: int, begin: Exchange | None = None) -> Conversation:
    """The conversation of one seed. It may `begin` with an exchange; else one in twenty-five is mere background."""
    rng = np.random.default_rng(seed)
    stage = Stage(studio, rng, voices.training_voice(rng))
    if begin is None and rng.random() < 0.04:
        return stage.finish(float(rng.uniform(6, 14)))
    for turn in script(bank, rng, begin):
        stage.play(turn)
    return stage.finish(float(rng.uniform(1.0, 4.0)))


def write_shard(index: int, studio: Studio, bank: Bank, seed: int) -> None:
    """`dialogues/<index>.npz` (user, agent, lengths) with `dialogues/<index>.json` (words, log)."""
    target = folder("dialogues") / f"{index:05d}.npz"
    if target.exists():
        return
    # Half of them begin with one thing after the other that there is to say, so that no answer is missing.
    everything, made = bank.everything(), []
    for number in range(index * PER_SHARD, (index + 1) * PER_SHARD):
        begin = everything[number // 2 % len(everything)] if number % 2 == 0 else None
        made.append(conversation(studio, bank, seed * 1_000_003 + number, begin))
    about = [dict(frames=len(c.user) // FRAME, words=c.words, log=c.log) for c in made]
    target.with_suffix(".json").write_text(json.dumps(about))

    def write(part):
        with open(part, "wb") as file:
            np.savez(file, user=np.concatenate([c.user for c in made]), agent=np.concatenate([c.agent for c in made]))

    replace_atomically(target, write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    studio, bank = Studio(), Bank()
    for index in tqdm(range(args.first, args.first + args.shards), desc="conversations", unit="shard", mininterval=5):
        write_shard(index, studio, bank, args.seed)


if __name__ == "__main__":
    main()
