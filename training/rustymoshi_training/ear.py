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
        lengths = torch.tensor([x.end - x.start for x in lines])
        line = torch.repeat_interleave(torch.arange(len(lines)), lengths)
        starts = torch.tensor([x.window * early.shape[1] + x.start for x in lines])
        rows = (starts[line] + _count(lengths)).to(early.device)
        sounds = self.sounds(self.norm_sounds(early.flatten(0, 1)[rows].float()))
        sounds = sounds.unflatten(-1, (SOUNDS_PER_FRAME, -1)).flatten(0, 1).log_softmax(-1)
        words = self.words(self.norm(late.flatten(0, 1)[rows].float()))
        # Of two thousand words a line's own are looked at: [lines, symbols], the blank first.
        own = [dict.fromkeys([0, *x.said.words]) for x in lines]
        columns = nn.utils.rnn.pad_sequence([torch.tensor(list(x)) for x in own], batch_first=True)
        chosen = words.gather(1, columns[line].to(words.device)) - words.logsumexp(-1, keepdim=True)
        places = [{word: i for i, word in enumerate(x)} for x in own]
        return (
            classification_loss(sounds, SOUNDS_PER_FRAME * lengths, [x.said.sounds for x in lines]),
            classification_loss(
                chosen, lengths, [[at[w] for w in x.said.words] for x, at in zip(lines, places, strict=True)]
            ),
        )


class SoundReader(nn.Module):
    """Quantized latents of a codec to speech sounds: codes from which these can be read keep what users say."""

    def __init__(self, dim: int, width: int = 192):
        super().__init__()
        self.near = nn.Conv1d(dim, width, 5, padding=2)
        self.sounds = nn.Linear(width, SOUNDS_PER_FRAME * (1 + len(SOUNDS)))

    def forward(self, latent: torch.Tensor, lines: list[Heard]) -> torch.Tensor:
        """Mean loss per sound of latents [b, dim, frames] against the lines; zero, with a gradient, without lines."""
        if not lines:
            return 0.0 * latent.sum()
        seen = self.sounds(F.gelu(self.near(latent)).transpose(1, 2))
        rows = torch.cat([seen[x.window, x.start : x.end] for x in lines])
        sounds = rows.float().unflatten(-1, (SOUNDS_PER_FRAME, -1)).flatten(0, 1).log_softmax(-1)
        lengths = torch.tensor([x.end - x.start for x in lines])
        return classification_loss(sounds, SOUNDS_PER_FRAME * lengths, [x.said.sounds for x in lines])


def _count(lengths: torch.Tensor) -> torch.Tensor:
    """0, 1, ... up to each of the lengths, one after the other."""
    ends = lengths.cumsum(0)
    return torch.arange(int(ends[-1])) - torch.repeat_interleave(ends - lengths, lengths)


def classification_loss(log_probs: torch.Tensor, lengths: torch.Tensor, symbols: list) -> torch.Tensor:
    """Temporal classification loss (Graves et al. 2006, equation 8) per symbol, mean over lines.

    `log_probs` [steps of all lines, card] are of the blank (0) and of the `symbols` that occur; they need not be all
    there are. A line of fewer steps than its symbols need counts as nothing. The gradient of a log probability is how
    often its symbol is expected there, which is read off PyTorch's loss of the detached values.
    """
    line, step = torch.repeat_interleave(torch.arange(len(lengths)), lengths), _count(lengths)
    padded = log_probs.new_zeros(int(lengths.max()), len(lengths), log_probs.shape[1])
    padded[step, line] = log_probs.detach()
    counts = torch.tensor([len(x) for x in symbols])
    targets = torch.tensor([one for x in symbols for one in x])
    with torch.enable_grad():
        padded.requires_grad_()
        losses = F.ctc_loss(padded, targets, lengths, counts, reduction="none", zero_infinity=True)
        (gradient,) = torch.autograd.grad(losses.sum(), padded)
    # That gradient is for values behind a softmax over all of them: probability less expectation.
    weight = 1 / (len(lengths) * counts.clamp(min=1).to(losses))
    expected = (padded.detach().exp() - gradient) * (weight * (losses > 0))[:, None]
    followed = -(expected[step, line] * log_probs).sum()
    value = (losses.detach() * weight).sum()
    return followed + (value - followed).detach()
