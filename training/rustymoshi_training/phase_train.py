"""Teach an encoder to tell phases: `python -m rustymoshi_training.phase_train --start-from codec_frozen --minutes 30`.

The last codebook is taken for them (`phases`). What the other codebooks see stays as it is, as nearly as the encoder
can, so a language model that knows them has one codebook to learn anew. Behind it, `decoder_train` learns what phases
are for. Not the other way round: a checkpoint of `decoder_train` does not tell which directions are the phases', and
begun from it this gives the last codebook away once more.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import phases, run, sketch, together
from .checkpoints import codec_of
from .codec_run import Run
from .encoder_train import FRAMES, HELD_LAYERS, first_layers
from .mixed import Mixed
from .pool import Crop, Pool

# So many crops show which directions are free and what phases there are.
SHOWN = 240


class Trainer(Run):
    """The encoder behind its first layers, and the rows that read phases off its latents."""

    def __init__(self, args):
        super().__init__(args)
        saved, own = self.begun()
        self.codec = codec_of(saved["codec"]).to(self.device).requires_grad_(False)
        # What other codebooks see is to be as it was when phases came in.
        self.before = codec_of(saved.get("before", saved["codec"])).to(self.device).requires_grad_(False)
        self.sketch = sketch.Sketch(self.codec.config.dim).to(self.device)
        if "sketch" in saved:
            self.sketch.load_state_dict(saved["sketch"])
        self.rows = nn.Linear(self.codec.config.dim, phases.NUMBERS, bias=False).to(self.device)
        self.directions = None
        if "directions" in saved:
            self.directions = saved["directions"].to(self.device)
            self.rows.load_state_dict(saved["rows"])
        learning = (self.codec.encoder.model[HELD_LAYERS:], self.codec.encoder_transformer, self.codec.downsample)
        self.params = [p.requires_grad_(True) for part in (*learning, self.rows) for p in part.parameters()]
        self.optimizer = Mixed(self.params, args.lr)
        if own:
            self.resume(saved)

    def state(self) -> dict:
        phases.write(self.codec, self.directions, self.rows.weight)
        parts = {"before": self.before, "rows": self.rows}
        return {"directions": self.directions} | {name: part.state_dict() for name, part in parts.items()}

    def know(self, pcm: np.ndarray, drawn: torch.Tensor) -> torch.Tensor:
        """What the first layers make of int16 samples: [channels, columns]."""
        return first_layers(self.codec, pcm, self.device)

    def latents(self, codec, crops: list[Crop]) -> torch.Tensor:
        """Unquantized [b, frames, dim]."""
        held = torch.stack([crop.known for crop in crops])
        with torch.autocast(self.device, torch.bfloat16):
            return codec.latent_of_columns(codec.columns_of_held(held, HELD_LAYERS)).float().transpose(1, 2)

    def told(self, crops: list[Crop]) -> torch.Tensor:
        """Their phases [b, frames, 6]."""
        return torch.from_numpy(np.stack([crop.phases for crop in crops])).to(self.device)

    @torch.no_grad()
    def make_room(self, crops: list[Crop]) -> None:
        """Take the last codebook for phases such as these."""
        latents = torch.cat([self.latents(self.codec, [crop])[0] for crop in crops])
        self.directions = phases.make_room(self.codec, latents, self.told(crops).flatten(0, 1))
        together.follow_first([self.directions])
        together.follow_first(self.codec.quantizer.state_dict().values())

    def train_step(self, crops: list[Crop]) -> dict:
        """One batch; returns the losses by name."""
        latents = self.latents(self.codec, crops)
        with torch.no_grad():
            before = self.latents(self.before, crops)
        return self.descend(
            {
                "missed": phases.missed(self.rows(latents), self.told(crops)),
                "moved": self.args.keep * self.moved(latents, before),
            }
        )

    def moved(self, now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """How far latents [b, frames, dim] are from those of before where the other codebooks look, in terms of what
        these leave over."""
        books, total = self.before.quantizer, 0.0
        for part, count in ((books.rvq_first, 1), (books.rvq_rest, len(books.rvq_rest.books) - 1)):
            look = part.input_proj.weight[..., 0]
            with torch.no_grad():
                left = F.linear(before, look).flatten(0, 1)
                for book in part.books[:count]:
                    left = left - F.embedding(book.nearest(left), book.vectors)
            total = total + F.linear(now - before, look).square().sum(-1).mean() / left.square().sum(-1).mean()
        return total

    def run(self) -> None:
        """Train until the minutes are used up."""
        seed = self.args.seed + self.step + 1_000_003 * together.rank()
        pool = Pool(FRAMES, seed, self.args, self.know, asked=True)
        if self.directions is None:
            self.make_room(pool.draw(SHOWN))
        self.go(lambda: self.train_step(pool.draw(self.args.batch)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec_phased")
    Run.add_arguments(parser, minutes=30, batch=16, lr=1.5e-3, start_from="codec_frozen")
    Pool.add_arguments(parser)
    parser.add_argument("--keep", type=float, default=0.5, help="weight of what the other codebooks see")
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
