"""Train a codec's decoder, its codes as they are: `python -m rustymoshi_training.decoder_train --minutes 120`. Run the
same command again to resume.

Every step draws what the sound must be like (`sketch`) off the decoder's features of long crops, and makes sound of a
short stretch of each. In the first `--sketch-minutes` there is no sound, and a step takes a third of the time.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch

from . import run, sketch, together
from .checkpoints import load_codec
from .codec_run import Run
from .encode import encoder
from .pool import Crop, Pool
from .sight import Sight

FRAMES = 64


class Trainer(Run):
    """Everything behind the codebooks; encoder and codebooks stay as they are."""

    def __init__(self, args):
        super().__init__(args)
        saved, own = self.begun()
        self.source = args.name if own else args.start_from
        self.codec = load_codec(self.source).to(self.device)
        self.sketch = sketch.Sketch(self.codec.config.dim).to(self.device)
        self.sight = None
        if args.sight:
            if "sight" not in saved:
                raise ValueError(f"{self.source} was not made by `sight_train` or from its codec: leave out --sight")
            self.sight = Sight(self.codec.config.dim).to(self.device).requires_grad_(False)
            self.sight.load_state_dict(saved["sight"])
        q = self.codec.quantizer
        before = [q.rvq_first.output_proj, q.rvq_rest.output_proj, self.codec.upsample, self.codec.decoder_transformer]
        before = [] if args.hold_features else [*before, self.sketch]
        self.params = [p for part in (*before, self.codec.decoder) for p in part.parameters()]
        self.codec.requires_grad_(False)
        for p in self.params:
            p.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.params, lr=args.lr, betas=(0.8, 0.99), weight_decay=1e-3)
        if "sketch" in saved:
            self.sketch.load_state_dict(saved["sketch"])
        if own:
            self.resume(saved)

    def state(self) -> dict:
        return {} if self.sight is None else dict(sight=self.sight.state_dict())

    def train_step(self, crops: list[Crop]) -> dict:
        """One batch; returns the losses by name."""
        codes = torch.stack([crop.known for crop in crops]).long().to(self.device)
        learning = not self.args.hold_features
        with torch.autocast(self.device, torch.bfloat16), torch.set_grad_enabled(learning):
            features = self.codec.features(self.codec.quantizer.decode(codes))
        parts, report = {}, {}
        if learning:
            drawn = torch.stack([crop.sketch for crop in crops]).float().to(self.device)
            parts = self.sketch_losses(features, drawn)
        if self.elapsed >= self.args.sketch_minutes * 60 or not learning:
            pcm = torch.from_numpy(np.stack([c.pcm for c in crops]).astype(np.float32) / 32767).to(self.device)
            waves = torch.stack([c.waves for c in crops]).float().to(self.device) if self.args.in_step else None
            sound, report = self.sound_losses(features, pcm, waves)
            parts |= sound
        return report | self.descend(parts)

    def run(self) -> None:
        """Train until the minutes are used up."""
        batches = self.batches()
        self.go(lambda: self.train_step(next(batches)))

    def heard(self) -> Callable[[np.ndarray, torch.Tensor], torch.Tensor]:
        """What makes codes of int16 samples, as whoever runs the codec does."""
        encode = encoder(load_codec(self.source))
        return lambda pcm, drawn: torch.from_numpy(encode(pcm))

    @torch.no_grad()
    def seen(self, pcm: np.ndarray, drawn: torch.Tensor) -> torch.Tensor:
        """The codes of a sketch."""
        return self.codec.quantizer.encode(self.sight(drawn[None].float().to(self.device)))[0].int().cpu()

    def batches(self) -> Iterator[list[Crop]]:
        """One after the other without end."""
        seed = self.args.seed + self.step + 1_000_003 * together.rank()
        pool = Pool(FRAMES, seed, self.args, self.seen if self.sight is not None else self.heard())
        while True:
            yield pool.draw(self.args.batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec_decoder")
    parser.add_argument("--sketch-minutes", type=float, default=10, help="how many of them without sound")
    parser.add_argument(
        "--sight", action="store_true", help="of a sketch's codes (`sight_train`), while the encoder still learns them"
    )
    parser.add_argument(
        "--hold-features", action="store_true", help="what precedes the sound stays as it is: a step costs less"
    )
    parser.add_argument("--decoded", type=int, default=10, help="how many of a crop's 64 frames become sound")
    Run.add_arguments(parser, minutes=120, batch=16, start_from="codec_frozen")
    Pool.add_arguments(parser)
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
