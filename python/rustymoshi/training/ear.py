"""What helps the language model to listen: while it trains, a head beside it writes down the user's sounds and words.

An answer tells little about a question: a model that sees each answer a few dozen times learns the questions by heart.
The user's words, without their times (connectionist temporal classification, Graves et al. 2006), tell it what was
heard; the speech sounds, read after fewer layers, what words are made of, so that a word it has met in few voices is
known in others (hierarchical supervision: Sanabria and Metze 2018). The heads are not part of the model.
"""

import zlib
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from .recognise import plain

WORDS = 2_048
# What hibari's phonemes are written with, without stress and length; a frame of 80 ms may hold three of them.
SOUNDS = "AIOQSTWYabcdefhijklmnopqrstuvwxyzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔʤʧθᵊᵻ"  # noqa: RUF001
SOUNDS_PER_FRAME = 3


def word_ids(text: str) -> list[int]:
    """Its words as numbers from 1 on (0 is the blank); a hash, so that there is no list to keep."""
    return [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in plain(text).split()]


@lru_cache(maxsize=1)
def _phonemes():
    """Text to hibari's phonemes."""
    import hibari

    return hibari.Hibari(threads=1).g2p


@cache
def sound_ids(text: str) -> tuple[int, ...]:
    """Its speech sounds as numbers from 1 on (0 is the blank)."""
    return tuple(1 + SOUNDS.index(c) for c in _phonemes()(text) if c in SOUNDS)


@dataclass(frozen=True)
class Said:
    """What a line says, as `word_ids` and `sound_ids`."""

    words: list[int]
    sounds: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> "Said":
        """Of its text."""
        return cls(word_ids(text), sound_ids(text))


@dataclass(frozen=True)
class Heard:
    """A user's line in a batch: window, frames [start, end) and what it says."""

    window: int
    start: int
    end: int
    said: Said


class Ear(nn.Module):
    """Hidden states to sounds and words."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.words = nn.LayerNorm(dim), nn.Linear(dim, WORDS)
        self.norm_sounds, self.sounds = nn.LayerNorm(dim), nn.Linear(dim, SOUNDS_PER_FRAME * (1 + len(SOUNDS)))

    def forward(self, early: torch.Tensor, late: torch.Tensor, lines: list[Heard]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss per sound of the hidden states `early` and per word of `late`, both [b, t, dim], against the lines;
        zero, with a gradient, without lines."""
        if not lines:
            return 0.0 * early.sum(), 0.0 * late.sum()
        sounds = self.sounds(self.norm_sounds(_cut(early, lines)))
        # [frames, lines, slots * symbols] to [frames * slots, lines, symbols].
        sounds = sounds.unflatten(-1, (SOUNDS_PER_FRAME, -1)).transpose(1, 2).flatten(0, 1)
        lengths = [x.end - x.start for x in lines]
        words = self.words(self.norm(_cut(late, lines)))
        return (
            _loss(sounds, [x.said.sounds for x in lines], [SOUNDS_PER_FRAME * length for length in lengths]),
            _loss(words, [x.said.words for x in lines], lengths),
        )


def _cut(hidden: torch.Tensor, lines: list[Heard]) -> torch.Tensor:
    """The lines' frames out of [b, t, dim], padded: [frames, lines, dim]."""
    return nn.utils.rnn.pad_sequence([hidden[x.window, x.start : x.end].float() for x in lines])


def _loss(logits: torch.Tensor, symbols: list, lengths: list[int]) -> torch.Tensor:
    """Temporal classification loss per symbol of logits [steps, lines, card]."""
    return F.ctc_loss(
        logits.log_softmax(-1),
        torch.tensor([one for line in symbols for one in line]),
        torch.tensor(lengths),
        torch.tensor([len(line) for line in symbols]),
        zero_infinity=True,
    )
