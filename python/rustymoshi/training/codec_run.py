"""What a training of the codec and one of its decoder share: schedule, checkpoint, the loop, losses of the sound."""

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from . import losses, pace, sketch, together
from .adversary import Adversary
from .curves import Curve
from .paths import FRAME, folder, replace_atomically


class Run:
    """One run under a name, in which it goes on where its checkpoint stands. Those who inherit set `codec`, `params`
    and `optimizer`, and say what a step is (`train_step`) and what else is kept (`state`)."""

    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.adversary = Adversary().to(self.device) if args.adversary else None
        self.elapsed, self.step = 0.0, 0
        self.path = folder("checkpoints") / f"{args.name}.pt"
        self.curve = Curve(folder("curves") / f"{args.name}.csv")

    def resume(self, saved: dict) -> None:
        """Go on where this run's own checkpoint stood."""
        self.optimizer.load_state_dict(saved["optimizer"])
        self.elapsed, self.step = saved["elapsed"], saved["step"]
        if self.adversary is not None and "adversary" in saved:
            self.adversary.resume(saved["adversary"])

    def save(self) -> None:
        """Write the checkpoint in one move."""
        if together.rank() != 0:
            return
        state = self.state() | dict(
            codec=self.codec.state_dict(),
            sketch=self.sketch.state_dict(),
            optimizer=self.optimizer.state_dict(),
            elapsed=self.elapsed,
            step=self.step,
        )
        if self.adversary is not None:
            state["adversary"] = self.adversary.state()
        replace_atomically(self.path, lambda part: torch.save(state, part))

    def state(self) -> dict:
        """What the checkpoint has besides codec, sketch and optimizer."""
        return {}

    def learning_rate(self) -> float:
        """Short warm-up, then a cosine to 2 % over the minutes asked for."""
        share = min(1.0, self.elapsed / (self.args.minutes * 60))
        return self.args.lr * min(1.0, (self.step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))

    def sound_losses(self, features: torch.Tensor, pcm: torch.Tensor) -> tuple[dict, dict]:
        """Of a stretch of `--decoded` frames of every row of pcm [b, samples]: losses by name, weighted, and what else
        there is to report."""
        length = self.args.decoded
        starts = torch.randint(1, pcm.shape[-1] // FRAME - length + 1, (len(pcm),)).tolist()
        real = torch.stack([row[at * FRAME : (at + length) * FRAME] for row, at in zip(pcm, starts, strict=True)])
        with torch.autocast(self.device, torch.bfloat16):
            made = self.codec.stretches(features, starts, length)
        made = made.float()
        windows = np.random.default_rng(self.step).permutation(list(losses.WINDOWS))[:2].tolist()
        parts = {
            "spectral": losses.spectral(made, real, windows),
            "envelope": self.args.envelope * losses.intelligibility(made, real),
            "phase": self.args.phase * sketch.hum_missed(sketch.hum(made), sketch.hum(real)),
        }
        if self.adversary is None:
            return parts, {}
        judge = self.adversary.learn(made, real)
        against = self.adversary.decoder_loss(made, real)
        return parts | {name: getattr(self.args, name) * against[name] for name in ("fool", "match")}, {"judge": judge}

    def sketch_losses(self, features: torch.Tensor, drawn: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is read off the features against what was drawn of the sound: losses by name, weighted."""
        with torch.autocast(self.device, torch.bfloat16):
            made = self.sketch(features)
        parts = sketch.loss(made.float(), drawn)
        return {name: getattr(self.args, name) * value for name, value in parts.items()}

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

    def go(self, batches: Iterator, now_and_then: Callable[[], None] = lambda: None) -> None:
        """Train until the minutes are used up, saving every three."""
        saved, watch = time.monotonic(), pace.Stopwatch(self.device, self.args.threads)
        with together.progress(self.args.minutes, self.elapsed) as bar:
            while self.elapsed < min(self.args.minutes, self.args.until or self.args.minutes) * 60:
                pace.adapt(self.step, self.args.threads)
                report = self.train_step(next(batches))
                self.step += 1
                took = torch.tensor([watch.lap()])
                together.follow_first([took])
                self.elapsed += took.item()
                if together.rank() == 0:
                    self.curve.add(self.step, self.elapsed, report)
                bar.set_postfix(
                    step=self.step,
                    s=f"{took.item():.2f}",
                    **{k: f"{v:.3f}" for k, v in self.curve.smooth().items()},
                    refresh=False,
                )
                bar.update(int(self.elapsed) - bar.n)
                if time.monotonic() - saved > 180:
                    self.save()
                    now_and_then()
                    saved = time.monotonic()
        self.save()

    @staticmethod
    def add_arguments(parser) -> None:
        """What both trainings can be told."""
        parser.add_argument("--until", type=float, default=0, help="end this run here, part of the way to --minutes")
        parser.add_argument("--lr", type=float, default=8e-4)
        parser.add_argument("--envelope", type=float, default=4.0, help="weight of what STOI measures")
        parser.add_argument("--alike", type=float, default=7.0, help="weight of the sketch's envelopes")
        parser.add_argument("--distance", type=float, default=0.3, help="weight of the sketch's magnitudes")
        parser.add_argument(
            "--hum", type=float, default=0.7, help="weight of the sketch's low waveform, with its phase"
        )
        parser.add_argument("--phase", type=float, default=1.0, help="weight of the sound's low waveform")
        parser.add_argument("--adversary", action="store_true", help="train against discriminators too")
        parser.add_argument("--fool", type=float, default=0.1, help="weight of being taken for real")
        parser.add_argument("--match", type=float, default=0.3, help="weight of what the discriminators see")
        parser.add_argument("--threads", type=int, default=2)
        parser.add_argument("--seed", type=int, default=1)
