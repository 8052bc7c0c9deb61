"""Better codes in a fifth of the time: `python -m rustymoshi_training.encoder_train --start-from codec --minutes 60`.

The encoder's layers up to 1,200 columns a second stay as they are, and what they make of a crop is kept (`pool`);
what follows, the codebooks and the decoder's features are trained on the sketch alone, without sound. The decoder is
trained on the new codes afterwards (`decoder_train`), and a language model has to learn them (`recode`).

Begun from codebooks that `sight_train` made, the encoder also learns to say what the sketch itself says there; with
`--hold-decoder` what is behind them stays as it is, and its sound may be learned meanwhile (`decoder_train --sight`).
With `--hold-codes` the codebooks do: a language model that learns their codes meanwhile only meets better ones.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from . import codec_train, run, sketch, together
from .codec import Codec
from .codec_run import Run
from .corpus import TEACHER_DIM
from .mixed import Mixed
from .pool import Crop, Pool
from .sight import MAGNITUDES, Direct, Sight

FRAMES = 64
# Convolution and residual block at 24 kHz and at 6 kHz, and the way to 1,200 columns a second.
HELD_LAYERS = 7


@torch.no_grad()
def first_layers(codec: Codec, pcm: np.ndarray, device: str) -> torch.Tensor:
    """What a codec's held layers make of int16 samples: [channels, columns] bf16."""
    sound = torch.from_numpy(pcm.astype(np.float32) / 32767)[None, None].to(device)
    with torch.autocast(device, torch.bfloat16):
        return codec.held(sound, HELD_LAYERS)[0].bfloat16()


class OnSketches(codec_train.Trainer):
    """A codec's trainer that makes no sound: from latents to what is read off the decoder's features."""

    def __init__(self, args):
        super().__init__(args)
        self.codec.decoder.requires_grad_(False)

    def drawn(self, crops: list[Crop]) -> torch.Tensor:
        """What the sound must be like [b, columns, 215]."""
        return torch.stack([crop.sketch for crop in crops]).float().to(self.device)

    def losses_behind(self, latent: torch.Tensor, crops: list[Crop], drawn: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of unquantized latents [b, dim, frames] all losses from there on by name, weighted."""
        teacher = np.zeros((len(crops), FRAMES, TEACHER_DIM), np.float32)
        for row, crop in zip(teacher, crops, strict=True):
            if crop.teacher is not None:
                row[:] = crop.teacher
        heard = [replace(crop.heard, window=i) for i, crop in enumerate(crops) if crop.heard is not None]
        latent, parts = self.quantized(latent.float(), torch.from_numpy(teacher), heard)
        with torch.autocast(self.device, torch.bfloat16):
            features = self.codec.features(latent)
        return parts | self.sketch_losses(features, drawn)

    def run(self) -> None:
        """Train until the minutes are used up."""
        batches = self.batches()
        self.begin()
        self.go(lambda: self.train_step(next(batches)))

    def begin(self) -> None:
        """Let everything learn."""
        self.codec.train()

    def batches(self) -> Iterator[list[Crop]]:
        """One after the other without end."""
        pool = Pool(FRAMES, self.args.seed + self.step + 1_000_003 * together.rank(), self.args, self.know)
        while True:
            yield pool.draw(self.args.batch)


class Trainer(OnSketches):
    """The encoder behind its first layers, and what follows."""

    def __init__(self, args):
        self.sight = self.direct = None
        super().__init__(args)

    def _begin(self, saved: dict, own: bool) -> None:
        if "sight" in saved:
            self.sight = Sight(self.codec.config.dim).to(self.device).requires_grad_(False)
            self.sight.load_state_dict(saved["sight"])
        if self.args.direct > 0:
            self.direct = Direct(self.codec.config.dim).to(self.device)
            if "direct" in saved:
                self.direct.load_state_dict(saved["direct"])
            self.params += self.direct.parameters()
        self.optimizer = Mixed(self.params, self.args.lr)
        super()._begin(saved, own)

    def begin(self) -> None:
        """Let everything learn but what is to stay as it is."""
        self.codec.train()
        if self.args.hold_codes:
            self.codec.quantizer.eval()
        if self.args.hold_decoder:
            books = self.codec.quantizer
            behind = (books.rvq_first.output_proj, books.rvq_rest.output_proj, self.codec.upsample)
            for part in (*behind, self.codec.decoder_transformer, self.sketch):
                part.requires_grad_(False)

    def state(self) -> dict:
        others = {"sight": self.sight, "direct": self.direct}
        return super().state() | {name: part.state_dict() for name, part in others.items() if part is not None}

    def know(self, pcm: np.ndarray, drawn: torch.Tensor) -> torch.Tensor:
        """What the first layers make of int16 samples: [channels, columns]."""
        return first_layers(self.codec, pcm, self.device)

    def train_step(self, crops: list[Crop]) -> dict:
        """One batch; returns the losses by name."""
        held, drawn = torch.stack([crop.known for crop in crops]), self.drawn(crops)
        with torch.autocast(self.device, torch.bfloat16):
            columns = self.codec.columns_of_held(held, HELD_LAYERS)
            latent = self.codec.latent_of_columns(columns)
        parts = self.losses_behind(latent, crops, drawn)
        if self.sight is not None:
            parts["taught"] = self.args.taught * self.untaught(latent, drawn)
        if self.direct is not None:
            with torch.autocast(self.device, torch.bfloat16):
                made = self.direct(columns)
            missed = sketch.magnitudes_missed(made.float(), drawn[..., :MAGNITUDES])
            weighted = sum(getattr(self.args, name) * value for name, value in missed.items())
            parts["direct"] = self.args.direct * weighted
        report = self.descend(parts)
        together.follow_first(self.codec.buffers())
        return report

    def untaught(self, latent: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """How far latents are from those of the sketch, where the codebooks look: 0, or 1 for a constant."""
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            wanted = self.sight(drawn)
        books, missed = self.codec.quantizer, []
        for part in (books.rvq_first, books.rvq_rest):
            there = part.input_proj(wanted.float()).detach()
            missed.append(F.mse_loss(part.input_proj(latent.float()), there) / there.var((0, 2)).mean())
        return sum(missed) / len(missed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec_anew")
    codec_train.add_code_arguments(parser)
    Run.add_arguments(parser, minutes=60, batch=16, start_from="codec")
    Pool.add_arguments(parser)
    parser.add_argument(
        "--taught",
        type=float,
        default=2.0,
        help="weight of the latents that the sketch itself has: 0 once decoder and codebooks have learned beyond those",
    )
    parser.add_argument(
        "--direct", type=float, default=0.5, help="weight of the sketch read off the encoder, no codebook between"
    )
    parser.add_argument("--hold-decoder", action="store_true", help="what is behind the codebooks stays as it is")
    parser.add_argument(
        "--hold-codes", action="store_true", help="codebooks stay as they are: a language model need not begin anew"
    )
    parser.set_defaults(hold=HELD_LAYERS, warm=0, hum=0.0, distance=0.1, commit=1.0)
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
