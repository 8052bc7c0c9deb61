"""What every training is: a run under a name that goes on where its checkpoint stands, its schedule, the loop."""

import math
import time
from collections.abc import Callable

import torch

from . import pace, together
from .curves import Curve
from .paths import folder, replace_atomically


class Run:
    """Those who inherit say what a checkpoint has (`checkpoint`) and what a step is (given to `go`)."""

    # So many steps to the full learning rate, and which share of it is left in the end.
    WARM_UP, LEAST = 100, 0.02

    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.elapsed, self.step = 0.0, 0
        self.path = folder("checkpoints") / f"{args.name}.pt"
        self.curve = Curve(folder("curves") / f"{args.name}.csv")

    def saved(self) -> tuple[dict | None, bool]:
        """The checkpoint to begin with, and whether it is this run's own; None where one begins with nothing."""
        source = self.path if self.path.exists() else folder("checkpoints") / f"{self.args.start_from}.pt"
        if source.is_file():
            return torch.load(source, map_location=self.device, weights_only=True), source == self.path
        if self.args.start_from:
            raise FileNotFoundError(f"no checkpoint {source} to start from: train it first, or see `restore`")
        return None, False

    def begun(self) -> tuple[dict, bool]:
        """The same of a training that cannot begin with nothing."""
        saved, own = self.saved()
        if saved is None:
            raise ValueError(
                "this training goes on from a checkpoint and --start-from names none: give a name from "
                "`checkpoints/`, or see `restore`"
            )
        return saved, own

    def checkpoint(self) -> dict:
        """What is to be kept besides how far the run is."""
        raise NotImplementedError

    def save(self) -> None:
        """Write the checkpoint in one move."""
        if together.rank() == 0:
            state = self.checkpoint() | dict(elapsed=self.elapsed, step=self.step)
            replace_atomically(self.path, lambda part: torch.save(state, part))

    def learning_rate(self) -> float:
        """Short warm-up, then a cosine over the minutes asked for."""
        share = min(1.0, self.elapsed / (self.args.minutes * 60))
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return self.args.lr * min(1.0, (self.step + 1) / self.WARM_UP) * (self.LEAST + (1 - self.LEAST) * cosine)

    def go(self, train_step: Callable[[], dict], now_and_then: Callable[[], object] = lambda: None) -> None:
        """Take steps, each of which returns its losses by name, until the minutes are used up; save every three."""
        saved, watch = time.monotonic(), pace.Stopwatch(self.device, self.args.threads)
        with together.progress(self.args.minutes, self.elapsed) as bar:
            while self.elapsed < min(self.args.minutes, self.args.until or self.args.minutes) * 60:
                pace.adapt(self.step, self.args.threads)
                report = train_step()
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
    def add_arguments(parser, *, minutes: float, batch: int, lr: float, start_from: str = "") -> None:
        """What every training can be told, with its defaults."""
        parser.add_argument("--start-from", default=start_from, help="checkpoint to begin with when --name has none")
        parser.add_argument("--minutes", type=float, default=minutes)
        parser.add_argument("--until", type=float, default=0, help="end this run here, part of the way to --minutes")
        parser.add_argument("--batch", type=int, default=batch)
        parser.add_argument("--lr", type=float, default=lr)
        parser.add_argument("--threads", type=int, default=2)
        parser.add_argument("--seed", type=int, default=1)


def main(parser, train: Callable) -> None:
    """What every training's command does: `train` with what it was told."""
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pace.keep_memory()
    together.begin()
    train(args)
    together.end()
