"""What the trainings of the codec share: losses of the sound and of its sketch, a step down them, the checkpoint."""

import numpy as np
import torch
from torch import nn

from . import losses, run, sketch, together
from .adversary import Adversary
from .paths import FRAME
from .sketch import COLUMNS_OF_FRAME


class Run(run.Run):
    """Those who inherit set `codec`, `sketch`, `params` and `optimizer`, and say what else is kept (`state`)."""

    def __init__(self, args):
        super().__init__(args)
        self.adversary = Adversary().to(self.device) if args.adversary else None

    def resume(self, saved: dict) -> None:
        """Go on where this run's own checkpoint stood."""
        self.optimizer.load_state_dict(saved["optimizer"])
        self.elapsed, self.step = saved["elapsed"], saved["step"]
        if self.adversary is not None and "adversary" in saved:
            self.adversary.resume(saved["adversary"])

    def checkpoint(self) -> dict:
        state = self.state() | dict(
            codec=self.codec.state_dict(), sketch=self.sketch.state_dict(), optimizer=self.optimizer.state_dict()
        )
        return state if self.adversary is None else state | dict(adversary=self.adversary.state())

    def state(self) -> dict:
        """What the checkpoint has besides codec, sketch and optimizer."""
        return {}

    def sound_losses(self, features, pcm: torch.Tensor, low: torch.Tensor | None = None) -> tuple[dict, dict]:
        """Of a stretch of `--decoded` frames of every row of pcm [b, samples]: losses by name, weighted, and what else
        there is to report. Its low waves are to be the sound's own or those given [b, columns, 56]."""
        length = self.args.decoded
        starts = torch.randint(1, pcm.shape[-1] // FRAME - length + 1, (len(pcm),)).tolist()
        real = torch.stack([row[at * FRAME : (at + length) * FRAME] for row, at in zip(pcm, starts, strict=True)])
        with torch.autocast(self.device, torch.bfloat16):
            made = self.codec.stretches(features, starts, length)
        made = made.float()
        waves = None
        if low is not None:
            per = COLUMNS_OF_FRAME
            waves = torch.stack([x[at * per : (at + length) * per] for x, at in zip(low, starts, strict=True)])
        parts = self.distances(made, real, waves)
        if self.adversary is None:
            return parts, {}
        judge = self.adversary.learn(made, real)
        against = self.adversary.decoder_loss(made, real)
        return parts | {name: getattr(self.args, name) * against[name] for name in ("fool", "match")}, {"judge": judge}

    def distances(self, made: torch.Tensor, real: torch.Tensor, waves: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Between two sounds [b, samples], by name, weighted; what has no weight costs no time."""
        args, windows = self.args, np.random.default_rng(self.step).permutation(list(losses.WINDOWS))[:2].tolist()
        of = {
            "spectral": (1.0, lambda: losses.spectral(made, real, windows)),
            "envelope": (args.envelope, lambda: losses.intelligibility(made, real)),
            "harmonics": (args.harmonics, lambda: losses.harmonics(made, real)),
            "advance": (args.advance, lambda: losses.advance(made, real)),
            "period": (args.period, lambda: losses.aperiodicity(made, real)),
            "phase": (args.phase, lambda: sketch.phases_missed(made, real, args.octaves, waves)),
        }
        return {name: weight * distance() for name, (weight, distance) in of.items() if weight > 0}

    def sketch_losses(self, features: torch.Tensor, drawn: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is read off the features against what was drawn of the sound: losses by name, weighted."""
        with torch.autocast(self.device, torch.bfloat16):
            made = self.sketch(features)
        parts = sketch.loss(made.float(), drawn)
        weights = vars(self.args) | {"octaves": self.args.hum * self.args.octaves}
        return {name: weights[name] * value for name, value in parts.items() if weights[name] > 0}

    def descend(self, parts: dict[str, torch.Tensor]) -> dict[str, float]:
        """One step down the sum of the losses; their values."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad()
        sum(parts.values()).backward()
        together.average_gradients(self.params)
        nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        return {name: value.item() for name, value in parts.items()}

    @staticmethod
    def add_arguments(parser, *, lr: float = 8e-4, **defaults) -> None:
        """What these trainings can be told, with its defaults."""
        run.Run.add_arguments(parser, lr=lr, **defaults)
        parser.add_argument("--envelope", type=float, default=4.0, help="weight of what STOI measures")
        parser.add_argument("--harmonics", type=float, default=1.0, help="weight of what long windows show of a voice")
        parser.add_argument(
            "--advance", type=float, default=0.0, help="weight of how phases of harmonics go on, whatever they are"
        )
        parser.add_argument(
            "--period", type=float, default=0.0, help="weight of a voice's periods, whatever the phases"
        )
        parser.add_argument("--alike", type=float, default=7.0, help="weight of the sketch's envelopes")
        parser.add_argument("--distance", type=float, default=0.3, help="weight of the sketch's magnitudes")
        parser.add_argument(
            "--hum", type=float, default=0.7, help="weight of the sketch's low waveform, with its phase"
        )
        parser.add_argument("--phase", type=float, default=1.0, help="weight of the sound's low waveforms")
        parser.add_argument("--octaves", type=float, default=0.0, help="share of both for two octaves above the hum")
        parser.add_argument("--adversary", action="store_true", help="train against discriminators too")
        parser.add_argument("--fool", type=float, default=0.1, help="weight of being taken for real")
        parser.add_argument("--match", type=float, default=0.3, help="weight of what the discriminators see")
