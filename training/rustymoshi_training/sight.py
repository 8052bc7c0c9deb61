"""What teaches an encoder: latents made of the sketch itself instead of the sound, and the sketch read off the
encoder's own columns, with no codebook between."""

import torch
import torch.nn.functional as F
from torch import nn

from .sketch import COLUMNS_OF_FEATURE, COLUMNS_OF_FRAME, MAGNITUDES


class Sight(nn.Module):
    """A sketch [b, columns, 215] -> latents [b, dim, frames], of each frame and the one before it: an encoder that has
    nothing to find out, to make codebooks and decoder of while the one that hears still learns."""

    def __init__(self, dim: int, hidden: int = 512):
        super().__init__()
        self.register_buffer("mean", torch.zeros(MAGNITUDES))
        self.register_buffer("scale", torch.ones(MAGNITUDES))
        self.layers = nn.Sequential(
            nn.Linear(2 * COLUMNS_OF_FRAME * MAGNITUDES, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, dim),
        )

    @property
    def adapted(self) -> bool:
        """Whether it knows what is usual."""
        return bool(self.mean.any())

    @torch.no_grad()
    def adapt(self, drawn: torch.Tensor) -> None:
        """Take for usual what is usual in these sketches [b, columns, 215]."""
        known = drawn[..., :MAGNITUDES].float()
        self.mean.copy_(known.mean((0, 1)))
        self.scale.copy_(1 / (known.std((0, 1)) + 0.1))

    def forward(self, drawn: torch.Tensor) -> torch.Tensor:
        x = ((drawn[..., :MAGNITUDES] - self.mean) * self.scale).unflatten(1, (-1, COLUMNS_OF_FRAME)).flatten(2)
        return self.layers(torch.cat([x, F.pad(x, (0, 0, 1, -1))], -1)).transpose(1, 2)


class Direct(nn.Module):
    """The encoder's columns [b, dim, 2 frames] -> the sketch's magnitudes [b, columns, 159], each off one column."""

    def __init__(self, dim: int, hidden: int = 512):
        super().__init__()
        self.norm, self.read = nn.LayerNorm(dim), nn.Linear(dim, hidden)
        self.write = nn.Linear(hidden, COLUMNS_OF_FEATURE * MAGNITUDES)
        nn.init.constant_(self.write.bias, -6.0)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        out = self.write(F.gelu(self.read(self.norm(columns.transpose(1, 2)))))
        return out.unflatten(2, (COLUMNS_OF_FEATURE, -1)).flatten(1, 2)
