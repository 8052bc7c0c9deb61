"""What helps the language model to listen: while it trains, a head beside it writes down the user's words.

An answer tells little about a question: a model that sees each answer a few dozen times learns the questions by heart.
The user's words, without their times (connectionist temporal classification, Graves et al. 2006), tell it what was
heard. The head is not part of the model.
"""

import zlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .recognise import plain

WORDS = 2_048


def word_ids(text: str) -> list[int]:
    """Its words as numbers from 1 on (0 is the blank); a hash, so that there is no list to keep."""
    return [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in plain(text).split()]


@dataclass(frozen=True)
class Heard:
    """A user's line in a batch: window, frames [start, end) and words."""

    window: int
    start: int
    end: int
    words: list[int]


class Ear(nn.Module):
    """Hidden states to words."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.words = nn.LayerNorm(dim), nn.Linear(dim, WORDS)

    def forward(self, hidden: torch.Tensor, lines: list[Heard]) -> torch.Tensor:
        """Mean loss per word of hidden states [b, t, dim] against the lines; zero, with a gradient, without lines."""
        if not lines:
            return 0.0 * hidden.sum()
        frames = nn.utils.rnn.pad_sequence([hidden[x.window, x.start : x.end] for x in lines])
        return F.ctc_loss(
            self.words(self.norm(frames.float())).log_softmax(-1),
            torch.tensor([word for x in lines for word in x.words]),
            torch.tensor([x.end - x.start for x in lines]),
            torch.tensor([len(x.words) for x in lines]),
            zero_infinity=True,
        )
