"""Codebooks and a decoder's features before any encoder: `python -m rustymoshi_training.sight_train --minutes 30`.

In the encoder's place stands a small network that sees the sketch which the decoder is to draw (`sight`): it learns in
minutes what codes can say at all. `encoder_train --start-from codec_sight` then teaches the encoder, which only hears,
to say the same.
"""

import argparse

import numpy as np
import torch

from . import codec_train, run, together
from .codec_run import Run
from .encoder_train import OnSketches
from .mixed import Mixed
from .pool import Crop, Pool
from .quantizer import SplitQuantizer
from .sight import Sight


class Trainer(OnSketches):
    """New codebooks and what is behind them, with the sketch instead of an encoder before them."""

    def _begin(self, saved: dict, own: bool) -> None:
        c = self.codec.config
        self.sight = Sight(c.dim).to(self.device)
        if "sight" in saved:
            self.sight.load_state_dict(saved["sight"])
        else:
            self.codec.quantizer = SplitQuantizer(c.dim, c.codebook_dim, c.bins, c.codebooks).to(self.device)
        learning = (self.sight, self.codec.quantizer, self.codec.upsample, self.codec.decoder_transformer)
        learning += (self.sketch, self.student, self.readers)
        self.params = [p for part in learning for p in part.parameters()]
        self.optimizer = Mixed(self.params, self.args.lr)
        super()._begin(saved, own)

    def state(self) -> dict:
        return super().state() | dict(sight=self.sight.state_dict())

    def know(self, pcm: np.ndarray, drawn: torch.Tensor) -> torch.Tensor:
        """Nothing besides the sketch."""
        return torch.zeros(0)

    def train_step(self, crops: list[Crop]) -> dict:
        """One batch; returns the losses by name."""
        drawn = self.drawn(crops)
        if not self.sight.adapted:
            self.sight.adapt(drawn)
            together.follow_first(self.sight.buffers())
        with torch.autocast(self.device, torch.bfloat16):
            latent = self.sight(drawn)
        report = self.descend(self.losses_behind(latent, crops, drawn))
        together.follow_first(self.codec.buffers())
        return report

    def run(self) -> None:
        """Train until the minutes are used up; codebooks begin with what many crops' latents are."""
        batches = self.batches()
        self.begin()

        def step() -> dict:
            if self.step == self.args.warm and not self.started():
                with torch.no_grad():
                    self.codec.quantizer(torch.cat([self.sight(self.drawn(next(batches))) for _ in range(40)]))
                together.follow_first(self.codec.buffers())
            return self.train_step(next(batches))

        self.go(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec_sight")
    codec_train.add_code_arguments(parser)
    Run.add_arguments(parser, minutes=30, batch=32, lr=2e-3, start_from="codec")
    Pool.add_arguments(parser)
    parser.add_argument("--warm", type=int, default=400, help="steps without quantization at the start")
    parser.set_defaults(hold=0, hum=0.0, distance=0.1, commit=2.0)
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
