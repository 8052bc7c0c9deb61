"""Users' lines, many more than there are whole conversations: `python -m rustymoshi_training.lines`.

What the model must learn to understand is what people say; what it answers repeats. So lines are spoken on their own,
at a third of a conversation's cost, and kept as they were spoken: rooms, microphones and noise come when the codec
trains on them and when `encode` turns them into codes, another draw each time. `compose` puts them and answers from
rendered conversations together while the model trains. A shard has 500 lines; existing shards are skipped.
"""

import argparse
import json
from dataclasses import asdict

import numpy as np
from tqdm import tqdm

from . import voices
from .dialogues import SAY_AGAIN
from .paths import FRAME, SAMPLE_RATE, folder, replace_atomically
from .questions import Bank, Exchange
from .speech import Studio, trim

PER_SHARD = 500
BEFORE_S, AFTER_S = 0.4, 0.8
AGAIN, FOLLOWS, ANY, FIRST = 0.02, 0.12, 0.35, 0.12


def draw(bank: Bank, rng: np.random.Generator) -> Exchange:
    """A line and its answer; of some the answer depends on what was said before."""
    chance = rng.random()
    if chance < AGAIN:
        return Exchange(SAY_AGAIN[rng.integers(len(SAY_AGAIN))].capitalize() + ".", "", "say again")
    kind = rng.random()
    exchange = bank.any(rng) if kind < ANY else bank.first(rng) if kind < ANY + FIRST else bank.draw(rng)
    follow = bank.follow_up(exchange, rng) if chance < AGAIN + FOLLOWS else None
    return Exchange(follow.question, follow.answer, "follow", follow.family, follow.member) if follow else exchange


def write_shard(index: int, studio: Studio, bank: Bank, seed: int, topic: str = "") -> None:
    """`lines/<index>.npy` (int16 samples of all lines in a row) and `.json` (per line what it is, `frames`, and the
    frames `start` and `end` between which it is spoken)."""
    target = folder("lines") / f"{index:05d}.npy"
    if target.exists():
        return
    rng, sounds, about = np.random.default_rng([seed, index]), [], []
    for _ in range(PER_SHARD):
        exchange = bank.exact(topic, rng) if topic else draw(bank, rng)
        setting = voices.training_voice(rng)
        said = trim(studio.say(exchange.question, setting, int(rng.integers(1 << 30))).wav)
        # Where in a frame a line begins is chance, as in life.
        before = int(BEFORE_S * SAMPLE_RATE) + int(rng.integers(FRAME))
        length = -(-(before + len(said) + int(AFTER_S * SAMPLE_RATE)) // FRAME) * FRAME
        said = said * np.float32(0.7 / max(1e-6, float(np.abs(said).max(initial=0.0))))
        sounds.append((np.pad(said, (before, length - before - len(said))) * 32767).astype(np.int16))
        about.append(
            asdict(exchange)
            | dict(frames=length // FRAME, start=before // FRAME, end=-(-(before + len(said)) // FRAME))
        )
    target.with_suffix(".json").write_text(json.dumps(about))

    def write(part):
        with open(part, "wb") as file:
            np.save(file, np.concatenate(sounds))

    replace_atomically(target, write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--topic", default="", help="only lines of this topic of the text files")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    studio, bank = Studio(), Bank()
    for index in tqdm(range(args.first, args.first + args.shards), desc="lines", unit="shard", mininterval=5):
        write_shard(index, studio, bank, args.seed, args.topic)


if __name__ == "__main__":
    main()
