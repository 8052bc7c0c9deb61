"""Scripts of conversations: who says what, after which pause, and what goes wrong on purpose.

A `Turn` of the user is followed by the agent's answer unless it is a back-channel; a barge-in cuts the answer before.
"""

from dataclasses import dataclass

import numpy as np

from .questions import Bank, Exchange

SAY_AGAIN = [
    "say that again",
    "can you say that again",
    "please repeat that",
    "what did you say",
    "pardon",
    "once more please",
    "I did not hear you",
]
SLOWER = ["slower please", "can you speak slower", "say that slower", "please speak more slowly"]


@dataclass(frozen=True)
class Turn:
    """One exchange in time, in seconds. `cut` is the share of the answer after which the user breaks in, if so."""

    exchange: Exchange
    pause_before: float
    answer_after: float
    cut: float | None = None
    answer_speed: float = 1.0
    back_channel: bool = False


def answer_gap(rng: np.random.Generator) -> float:
    """Seconds between a question's end and the answer: mostly 0.35 to 0.6, as people do. Sooner, half of a question
    would be answered wherever somebody takes a breath."""
    return float(np.clip(rng.lognormal(np.log(0.44), 0.22), 0.34, 0.8))


def user_pause(rng: np.random.Generator) -> float:
    """Seconds before the user speaks (again): usually short, sometimes long."""
    return float(rng.uniform(4, 9)) if rng.random() < 0.08 else float(np.clip(rng.lognormal(np.log(0.9), 0.6), 0.3, 4))


def script(bank: Bank, rng: np.random.Generator, begin: Exchange | None = None) -> list[Turn]:
    """A conversation of one to six exchanges; the first may be given, and is then not broken into."""
    turns: list[Turn] = []
    count = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.1, 0.2, 0.25, 0.2, 0.15, 0.1]))
    last: Exchange | None = None
    while len(turns) < count:
        exchange, speed = None, 1.0
        draw = rng.random()
        if last is not None and draw < 0.35:
            exchange = bank.follow_up(last, rng)
        elif last is not None and draw < 0.42:
            slow = rng.random() < 0.3
            asked = SLOWER if slow else SAY_AGAIN
            exchange = Exchange(
                asked[rng.integers(len(asked))].capitalize() + ".", last.answer, "slower" if slow else "say again"
            )
            speed = 0.75 if slow else 1.0
        exchange = exchange or (begin if not turns else None) or bank.draw(rng)
        turns.append(
            Turn(exchange, user_pause(rng), answer_gap(rng), answer_speed=speed, back_channel=bool(rng.random() < 0.05))
        )
        given = begin is not None and len(turns) == 1
        if len(exchange.answer.split()) > 4 and rng.random() < 0.15 and not given:
            turns[-1] = Turn(
                exchange,
                turns[-1].pause_before,
                turns[-1].answer_after,
                cut=float(rng.uniform(0.2, 0.8)),
                answer_speed=speed,
            )
            follow = bank.exact("stop", rng) if rng.random() < 0.5 else bank.draw(rng)
            turns.append(Turn(follow, 0.0, answer_gap(rng)))
            last = None if follow.topic == "stop" else follow
            continue
        last = exchange if exchange.topic not in ("slower", "say again") else last
    return turns
