"""Crops that are drawn again and again, with what costs most to know of them kept: new ones come in all the time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from . import phases, sketch
from .codec_data import Sounds
from .ear import Heard

BEGIN_WITH, MOST = 400, 2_400


@dataclass(frozen=True)
class Crop:
    """The sound to be made; what the training asked to know of the sound heard; the sketch [columns, 215] f16; the
    teacher's features [frames, 384] f16 or None; what is said, or None; phases [frames, 6] f32, or None; and low waves
    in step [columns, 56] f16, or None."""

    pcm: np.ndarray
    known: torch.Tensor
    sketch: torch.Tensor
    teacher: np.ndarray | None
    heard: Heard | None
    phases: np.ndarray | None = None
    waves: torch.Tensor | None = None


def whole(pcm: np.ndarray) -> np.ndarray:
    """Samples as int16."""
    return np.round(np.clip(pcm, -1, 1) * 32767).astype(np.int16)


class Pool:
    """Crops of `frames` frames, each with what `know` finds out about its int16 samples and its sketch, and with phases
    if they are `asked`; `args.answers` and `args.lines` of them are the agent's answers and users' lines. The sketch of
    a line has no waves (NaN): of so many voices it would take too much of codes that are still being found. If
    harmonics are to be in step (`args.in_step`, `phases`), those of all crops are, and there are none where nobody
    speaks."""

    def __init__(
        self, frames: int, seed: int, args, know: Callable[[np.ndarray, torch.Tensor], torch.Tensor], asked=False
    ):
        if min(args.answers, args.lines) < 0 or args.answers + args.lines > 1:
            raise ValueError(
                f"--answers {args.answers} and --lines {args.lines} are to be shares that make 1 at most together"
            )
        self.rng, self.args, self.know, self.asked = np.random.default_rng(seed), args, know, asked
        self.sounds = Sounds(frames, seed, 1.0)
        self.crops: list[Crop] = []
        while len(self.crops) < BEGIN_WITH:
            self.renew()

    def renew(self) -> None:
        """One new crop, in place of any old one where there are enough. A line is to sound as the voice alone: what
        else is in it would take most of the codes and does not come back the same anyway."""
        kind, teacher, heard, waves = self.rng.random(), None, None, None
        if kind < self.args.answers:
            wanted = pcm = self.sounds.answers.draw()
        elif kind < self.args.answers + self.args.lines:
            pcm, wanted, heard = self.sounds.lines.draw(0)
        else:
            wanted, teacher = self.sounds.corpus.draw()
            pcm = wanted
        drawn = sketch.draw(torch.from_numpy(wanted)[None])[0].half()
        if self.args.in_step:
            in_step = phases.in_step(wanted)
            drawn[:, sketch.MAGNITUDES :], waves = in_step.harmonics, in_step.waves.half()
        elif heard is not None:
            drawn[:, sketch.MAGNITUDES :] = torch.nan
        teacher = None if teacher is None else teacher.astype(np.float16)
        told = phases.phases(wanted) if self.asked else None
        crop = Crop(whole(wanted), self.know(whole(pcm), drawn), drawn, teacher, heard, told, waves)
        if len(self.crops) < MOST:
            self.crops.append(crop)
        else:
            self.crops[int(self.rng.integers(MOST))] = crop

    def draw(self, size: int) -> list[Crop]:
        """`size` different crops."""
        for _ in range(2 if len(self.crops) < MOST else 1):
            self.renew()
        return [self.crops[i] for i in self.rng.choice(len(self.crops), size, replace=False)]

    @staticmethod
    def add_arguments(parser) -> None:
        """Whose crops they are. With 0.6 and 0.3 codes told 0.004 more of the agent and 0.002 less of others."""
        parser.add_argument("--answers", type=float, default=0.4, help="share of crops that are the agent's answers")
        parser.add_argument("--lines", type=float, default=0.4, help="and users' lines; the others are of the corpus")
        parser.add_argument(
            "--in-step",
            action="store_true",
            help="hum and octaves are to be those of harmonics in step with the fundamental, of all voices (pyworld)",
        )
