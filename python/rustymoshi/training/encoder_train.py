"""Better codes in a fifth of the time: `python -m rustymoshi.training.encoder_train --start-from codec --minutes 60`.

The encoder's layers up to 1,200 columns a second stay as they are, and what they make of a crop is kept (`pool`);
what follows, the codebooks and the decoder's features are trained on the sketch alone, without sound. The decoder is
trained on the new codes afterwards (`decoder_train`), and a language model has to learn them (`recode`).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from . import codec_train, run, together
from .codec_data import Batch
from .codec_run import Run
from .corpus import TEACHER_DIM
from .pool import Crop, Pool

FRAMES = 64
# Convolution and residual block at 24 kHz and at 6 kHz, and the way to 1,200 columns a second.
HELD_LAYERS = 7


class Trainer(codec_train.Trainer):
    """A codec's trainer that begins behind the encoder's first layers and makes no sound."""

    def __init__(self, args):
        super().__init__(args)
        self.codec.decoder.requires_grad_(False)

    def know(self, pcm: np.ndarray) -> torch.Tensor:
        """What the first layers make of int16 samples: [channels, columns]."""
        sound = torch.from_numpy(pcm.astype(np.float32) / 32767)[None, None].to(self.device)
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            return self.codec.held(sound, HELD_LAYERS)[0].bfloat16()

    def latent(self, held: torch.Tensor) -> torch.Tensor:
        """Of what the first layers made [b, channels, columns]."""
        return self.codec.latent_of_held(held, HELD_LAYERS)

    def train_step(self, crops: list[Crop]) -> dict:
        """One batch; returns the losses by name."""
        teacher = np.zeros((len(crops), FRAMES, TEACHER_DIM), np.float32)
        for row, crop in zip(teacher, crops, strict=True):
            if crop.teacher is not None:
                row[:] = crop.teacher
        heard = [replace(crop.heard, window=i) for i, crop in enumerate(crops) if crop.heard is not None]
        held = torch.stack([crop.known for crop in crops])
        latent, parts = self.quantized(Batch(held, held, torch.from_numpy(teacher), heard), held)
        with torch.autocast(self.device, torch.bfloat16):
            features = self.codec.features(latent)
        drawn = torch.stack([crop.sketch for crop in crops]).float().to(self.device)
        report = self.descend(parts | self.sketch_losses(features, drawn))
        together.follow_first(self.codec.buffers())
        return report

    def run(self) -> None:
        """Train until the minutes are used up."""
        batches = self.batches()
        self.codec.train()
        self.go(lambda: self.train_step(next(batches)))

    def batches(self) -> Iterator[list[Crop]]:
        """One after the other without end."""
        pool = Pool(FRAMES, self.args.seed + self.step + 1_000_003 * together.rank(), self.know)
        while True:
            yield pool.draw(self.args.batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec_anew")
    codec_train.add_code_arguments(parser)
    Run.add_arguments(parser, minutes=60, batch=16, start_from="codec")
    parser.set_defaults(hold=HELD_LAYERS, warm=0)
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
