"""Every question the built-in model can answer, as families of (ways to ask, answer, topic).

`Bank.draw` gives one exchange; `Bank.follow_up` one that refers back to the last. Example: `Bank().draw(rng).answer`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .topics import tables as t

BEFORE = [
    "please tell me, ",
    "can you tell me, ",
    "robin, ",
    "hey robin, ",
    "um, ",
    "so, ",
    "well, ",
    "and ",
    "i have a question, ",
    "tell me, ",
    "okay, ",
]
AFTER = [" please", " robin", ", do you know"]
# What people say first to something that talks.
FIRST = (
    "hello", "good morning", "good evening", "good night", "goodbye", "thanks", "sorry", "how are you", "i am fine",
    "name", "who are you", "how old", "where from", "who made you", "are you human", "are you a robot",
    "what can you do", "hear",
)  # fmt: skip
DO_NOT_KNOW = "I am sorry, I do not know that."


@dataclass(frozen=True)
class Exchange:
    """A user's line, the right answer, the topic it belongs to and its family for follow-up questions."""

    question: str
    answer: str
    topic: str
    family: str = ""
    member: str = ""


def _families() -> dict[str, list[tuple[str, list[str], str]]]:
    """Tables as {family: [(member, ways to ask, answer)]}."""
    f: dict[str, list] = {}
    f["capital"] = [
        (
            c,
            [
                f"what is the capital of {c}",
                f"which city is the capital of {c}",
                f"tell me the capital of {c}",
                f"do you know the capital of {c}",
                f"the capital of {c}",
            ],
            f"The capital of {c} is {k}.",
        )
        for c, k in t.CAPITALS.items()
    ]
    f["sound"] = [
        (
            a,
            [
                f"what does a {a} say",
                f"which sound does a {a} make",
                f"how does a {a} sound",
                f"what noise does a {a} make",
                f"make a sound like a {a}",
            ],
            f"The {a} says {s}.",
        )
        for a, s in t.ANIMAL_SOUNDS.items()
    ]
    f["baby"] = [
        (
            a,
            [f"what is a baby {a} called", f"what do you call a baby {a}", f"what is the name of a young {a}"],
            f"A baby {a} is a {b}.",
        )
        for a, b in t.BABIES.items()
    ]
    f["opposite"] = [
        (
            a,
            [
                f"what is the opposite of {a}",
                f"tell me the opposite of {a}",
                f"the opposite of {a}",
                f"what is opposite to {a}",
            ],
            f"The opposite of {a} is {b}.",
        )
        for a, b in t.OPPOSITES.items()
    ]
    for names, kind in ((t.DAYS, "day"), (t.MONTHS, "month")):
        n = len(names)
        f[f"{kind} after"] = [
            (
                d,
                [f"what {kind} comes after {d}", f"which {kind} is after {d}", f"what comes after {d}"],
                f"After {d} comes {names[(i + 1) % n]}.",
            )
            for i, d in enumerate(names)
        ]
        f[f"{kind} before"] = [
            (
                d,
                [f"what {kind} comes before {d}", f"which {kind} is before {d}", f"what comes before {d}"],
                f"Before {d} comes {names[i - 1]}.",
            )
            for i, d in enumerate(names)
        ]
    f["sum"] = [
        (
            f"{w(a)} and {w(b)}",
            [f"what is {w(a)} plus {w(b)}", f"how much is {w(a)} plus {w(b)}", f"{w(a)} plus {w(b)}"],
            f"{w(a)} plus {w(b)} is {w(a + b)}.".capitalize(),
        )
        for a in range(1, 10)
        for b in range(1, 10)
    ]
    f["difference"] = [
        (
            f"{w(a)} minus {w(b)}",
            [f"what is {w(a)} minus {w(b)}", f"how much is {w(a)} minus {w(b)}", f"{w(a)} minus {w(b)}"],
            f"{w(a)} minus {w(b)} is {w(a - b)}.".capitalize(),
        )
        for a in range(1, 11)
        for b in range(1, a + 1)
    ]
    f["count"] = [
        (
            w(n),
            [f"count to {w(n)}", f"can you count to {w(n)}", f"please count to {w(n)}", f"count from one to {w(n)}"],
            (", ".join(w(i) for i in range(1, n + 1)) + ".").capitalize(),
        )
        for n in (3, 4, 5, 6, 7, 8, 10)
    ]
    f["number after"] = [
        (
            w(n),
            [f"what number comes after {w(n)}", f"which number is after {w(n)}", f"what is the number after {w(n)}"],
            f"After {w(n)} comes {w(n + 1)}.",
        )
        for n in range(1, 20)
    ]
    f["spell"] = [
        (
            s,
            [f"how do you spell {s}", f"spell {s}", f"can you spell {s}", f"spell the word {s}"],
            f"{s.capitalize()}: {', '.join(s.upper())}.",
        )
        for s in t.SPELLINGS
    ]
    f["is it"] = [(s, [f"is {s}", f"tell me, is {s}", f"would you say, is {s}"], a) for s, a in t.TRUE_OR_NOT.items()]
    f["can it"] = [
        (
            s,
            [
                f"can {s}",
                f"is it true that {s.split()[0]} can {s.split()[1]}",
                f"do you think {s.split()[0]} can {s.split()[1]}",
            ],
            a,
        )
        for s, a in t.CAN_IT.items()
    ]
    f["likes"] = [
        (s, [f"do you like {s}", f"what do you think about {s}", f"how do you like {s}"], a) for s, a in t.LIKES.items()
    ]
    f["repeat"] = [(s, [f"repeat after me, {s}", f"say after me, {s}", f"please say, {s}"], s) for s in t.REPEATS]
    return f


def w(number: int) -> str:
    """A number up to twenty as a word."""
    return t.NUMBERS[number]


def _topics() -> list[tuple[str, list[str], list[str]]]:
    """(topic, ways to ask, answers) from the text files."""
    found = []
    for name in ("talk.txt", "facts.txt"):
        for block in (Path(__file__).parent / "topics" / name).read_text().split("# ")[1:]:
            topic, asked, *answers = block.strip().splitlines()
            found.append(
                (
                    topic,
                    [q.strip() for q in asked.removeprefix("?").split("|")],
                    [a.removeprefix("!").strip() for a in answers],
                )
            )
    return found


SHARES = {
    "topic": 0.56,
    "capital": 0.07,
    "sound": 0.04,
    "baby": 0.02,
    "opposite": 0.05,
    "day after": 0.02,
    "day before": 0.015,
    "month after": 0.015,
    "month before": 0.01,
    "sum": 0.03,
    "difference": 0.015,
    "count": 0.015,
    "number after": 0.01,
    "spell": 0.025,
    "is it": 0.025,
    "can it": 0.015,
    "likes": 0.02,
    "repeat": 0.02,
    "unknown": 0.025,
}
FOLLOWS = {
    "capital": ["and of {m}", "and what about {m}", "and {m}"],
    "sound": ["and a {m}", "and what about a {m}"],
    "baby": ["and a baby {m}"],
    "opposite": ["and of {m}", "and what about {m}"],
    "day after": ["and after {m}"],
    "month after": ["and after {m}"],
    "sum": ["and {m}"],
    "likes": ["and {m}", "and what about {m}"],
    "spell": ["and {m}", "and how about {m}"],
}


class Bank:
    """All exchanges."""

    def __init__(self):
        self.topics, self.families = _topics(), _families()
        self.names, shares = zip(*SHARES.items(), strict=False)
        self.shares = np.array(shares) / sum(shares)

    def draw(self, rng: np.random.Generator) -> Exchange:
        """One exchange; its question may carry words before and after."""
        name = self.names[rng.choice(len(self.names), p=self.shares)]
        if name == "topic":
            return _of_topic(_pick(rng, self.topics), rng)
        if name == "unknown":
            return Exchange(sentence(_pick(rng, t.UNKNOWN), rng), DO_NOT_KNOW, "unknown")
        return _of_family(name, _pick(rng, self.families[name]), rng)

    def any(self, rng: np.random.Generator) -> Exchange:
        """One exchange, every member of every family as likely as every topic: for learning to tell them apart."""
        members = [(name, member) for name, family in self.families.items() for member in family]
        at = int(rng.integers(len(self.topics) + len(members)))
        if at < len(members):
            return _of_family(*members[at], rng)
        return _of_topic(self.topics[at - len(members)], rng)

    def first(self, rng: np.random.Generator) -> Exchange:
        """One exchange of those that conversations begin with."""
        return self.exact(_pick(rng, FIRST), rng)

    def follow_up(self, last: Exchange, rng: np.random.Generator) -> Exchange | None:
        """A question that only makes sense after `last`, or None."""
        if last.family not in FOLLOWS:
            return None
        member, _, answer = self.families[last.family][rng.integers(len(self.families[last.family]))]
        return Exchange(
            sentence(_pick(rng, FOLLOWS[last.family]).format(m=member), rng, plain=True),
            answer,
            last.topic,
            last.family,
            member,
        )

    def exact(self, topic: str, rng: np.random.Generator) -> Exchange:
        """An exchange of one named topic of the text files."""
        return _of_topic(next(x for x in self.topics if x[0] == topic), rng)

    def everything(self) -> list[Exchange]:
        """Every topic and family member once, in its first wording."""
        out = [Exchange(sentence(asked[0]), answers[0], topic) for topic, asked, answers in self.topics]
        for family, members in self.families.items():
            out += [Exchange(sentence(asked[0]), answer, family, family, member) for member, asked, answer in members]
        return out


def _of_topic(entry: tuple[str, list[str], list[str]], rng: np.random.Generator) -> Exchange:
    topic, asked, answers = entry
    return Exchange(sentence(_pick(rng, asked), rng), _pick(rng, answers), topic)


def _of_family(name: str, entry: tuple[str, list[str], str], rng: np.random.Generator) -> Exchange:
    member, asked, answer = entry
    return Exchange(sentence(_pick(rng, asked), rng), answer, name, name, member)


def _pick(rng: np.random.Generator, options: list):
    return options[int(rng.integers(len(options)))]


ASKING = (  # noqa: SIM905 one string keeps the list readable
    "what which who how why when where is are do does did can could will would should may was were am at in "
).split()


def sentence(text: str, rng: np.random.Generator | None = None, plain: bool = False) -> str:
    """Capital letter and end mark; sometimes with words before or after."""
    asks = text.split()[0].lower() in ASKING or text.startswith("and ")
    if rng is not None and not plain:
        if rng.random() < 0.22:
            text = _pick(rng, BEFORE) + text
        if rng.random() < 0.08:
            text = text.rstrip(".") + _pick(rng, AFTER)
    text = " ".join("I" if x == "i" else x for x in text.split())
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + ("?" if asks else ".")
