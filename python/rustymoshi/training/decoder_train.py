"""Train a codec's decoder, its codes as they are: `python -m rustymoshi.training.decoder_train --minutes 120`. Run the
same command again to resume.

Every step draws what the sound must be like (`sketch`) off the decoder's features of long crops, and makes sound of a
short stretch of each. In the first `--sketch-minutes` there is no sound, and a step takes a third of the time.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch

from . import run, sketch, together
from .checkpoints import load_codec
from .codec_run import Run
from .encode import encoder
from .pool import Crop, Pool

FRAMES = 64


class Trainer(Run):
    """Everything behind the codebooks; encoder and codebooks stay as they are."""

    def __init__(self, args):
        super().__init__(args)
        saved, own = self.saved()
        self.source = args.name if own else args.start_from
        self.codec = load_codec(self.source).to(self.device)
        self.sketch = sketch.Sketch(self.codec.config.dim).to(self.device)
        q = self.codec.quantizer
        before = [q.rvq_first.output_proj, q.rvq_rest.output_proj, self.codec.upsample, self.codec.decoder_transformer]
        self.params = [p for part in (*before, self.codec.decoder, self.sketch) for p in part.parameters()]
        self.codec.requires_grad_(False)
        for p in self.params:
            p.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.params, lr=args.lr, betas=(0.8, 0.99), weight_decay=1e-3)
        if "sketch" in saved:
            self.sketch.load_state_dict(saved["sketch"])
        if own:
            self.resume(saved)

    def train_step(self, crops: list[Crop]) -> dict:
        """One batch; returns the losses by name."""
        codes = torch.stack([crop.known for crop in crops]).long().to(self.device)
        drawn = torch.stack([crop.sketch for crop in crops]).float().to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            features = self.codec.features(self.codec.quantizer.decode(codes))
        parts, report = self.sketch_losses(features, drawn), {}
        if self.elapsed >= self.args.sketch_minutes * 60:
            pcm = torch.from_numpy(np.stack([c.pcm for c in crops]).astype(np.float32) / 32767).to(self.device)
            sound, report = self.sound_losses(features, pcm)
            parts |= sound
        return report | self.descend(parts)

    def run(self) -> None:
        """Train until the minutes are used up."""
        batches = self.batches()
        self.go(lambda: self.train_step(next(batches)))

    def batches(self) -> Iterator[list[Crop]]:
        """One after the other without end."""
        encode = encoder(load_codec(self.source))
        seed = self.args.seed + self.step + 1_000_003 * together.rank()
        pool = Pool(FRAMES, seed, lambda pcm: torch.from_numpy(encode(pcm)))
        while True:
            yield pool.draw(self.args.batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec_decoder")
    parser.add_argument("--sketch-minutes", type=float, default=10, help="how many of them without sound")
    parser.add_argument("--decoded", type=int, default=10, help="how many of a crop's 64 frames become sound")
    Run.add_arguments(parser, minutes=120, batch=16, start_from="codec_frozen")
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
