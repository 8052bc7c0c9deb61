"""Train the codec: `python -m rustymoshi.training.codec_train --minutes 60`. Run the same command again to resume.

The learning rate follows the minutes trained so far; a minute is a minute of all `--threads`,
however long it took to get.
`--freeze-encoder` keeps encoder and codebooks (and so all codes) as they are and goes on with the decoder alone.
"""

import argparse
import math
import time

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from . import losses, pace
from .adversary import Adversary
from .codec import Codec, CodecConfig
from .corpus import TEACHER_DIM
from .curves import Curve
from .paths import FRAME, folder, replace_atomically

WEIGHTS = {"agent": 0.30, "users": 0.50, "recordings": 0.18, "noise": 0.02}
# A restored codec comes without the layer that reads the teacher's features: so many steps it learns alone.
NEW_STUDENT_STEPS = 300


class Corpus:
    """Random crops of whole frames from all groups, with the teacher's features of the same frames."""

    def __init__(self, frames: int, seed: int, agent: float):
        self.frames, self.rng = frames, np.random.default_rng(seed)
        self.audio, self.teacher, self.stats = {}, {}, {}
        for group in WEIGHTS:
            self.audio[group] = np.load(folder("codec") / f"{group}.npy", mmap_mode="r")
        self.look_for_teacher()
        weights = np.array(list(WEIGHTS.values()))
        weights[0] *= agent
        self.groups, self.weights = list(WEIGHTS), weights / weights.sum()

    def look_for_teacher(self) -> None:
        """Take the features that are there; the teacher may still be at work on other groups."""
        paths = {g: folder("codec") / f"{g}.teacher.npy" for g in WEIGHTS}
        self.teacher = {g: np.load(path, mmap_mode="r") for g, path in paths.items() if path.exists()}
        sample = np.asarray(self.teacher["agent"][::7], np.float32)
        self.mean, self.std = sample.mean(0), sample.std(0) + 1e-3

    def batch(self, size: int):
        """(pcm [size, 1, samples], teacher [size, frames, 384], zero where there is none)."""
        pcm, teacher = [], []
        for group in self.rng.choice(self.groups, size=size, p=self.weights):
            start = int(self.rng.integers(len(self.audio[group]) // FRAME - self.frames))
            pcm.append(self.audio[group][start * FRAME : (start + self.frames) * FRAME].astype(np.float32) / 32768)
            features = np.zeros((self.frames, TEACHER_DIM), np.float32)
            if group in self.teacher:
                features = (self.teacher[group][start : start + self.frames].astype(np.float32) - self.mean) / self.std
            teacher.append(features)
        return torch.from_numpy(np.stack(pcm))[:, None], torch.from_numpy(np.stack(teacher))


class Trainer:
    """Model, optimizer, schedule and checkpoint of one run."""

    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.codec = Codec(CodecConfig()).to(self.device)
        self.student = nn.Linear(self.codec.config.dim, TEACHER_DIM).to(self.device)
        self.elapsed, self.step, self.new_student = 0.0, 0, 0
        self.path = folder("checkpoints") / f"{args.name}.pt"
        self.curve = Curve(folder("curves") / f"{args.name}.csv")
        parts = (
            [self.codec.decoder, self.codec.decoder_transformer, self.codec.upsample]
            if args.freeze_encoder
            else [self.codec, self.student]
        )
        self.params = [p for part in parts for p in part.parameters()]
        self.optimizer = torch.optim.AdamW(self.params, lr=args.lr, betas=(0.8, 0.99), weight_decay=1e-3)
        self.adversary = Adversary().to(self.device) if args.adversary else None
        self._resume()

    def _resume(self) -> None:
        source = self.path if self.path.exists() else folder("checkpoints") / f"{self.args.start_from}.pt"
        if not source.is_file():
            return
        saved = torch.load(source, map_location=self.device, weights_only=True)
        self.codec.load_state_dict(saved["codec"])
        if "student" in saved:
            self.student.load_state_dict(saved["student"])
        self.new_student = saved.get("new_student", 0 if "student" in saved else NEW_STUDENT_STEPS)
        if source == self.path:
            self.optimizer.load_state_dict(saved["optimizer"])
            self.elapsed, self.step = saved["elapsed"], saved["step"]
            if self.adversary is not None and "adversary" in saved:
                self.adversary.resume(saved["adversary"])

    def save(self) -> None:
        """Write the checkpoint in one move."""
        state = dict(
            codec=self.codec.state_dict(),
            student=self.student.state_dict(),
            new_student=self.new_student,
            optimizer=self.optimizer.state_dict(),
            elapsed=self.elapsed,
            step=self.step,
        )
        if self.adversary is not None:
            state["adversary"] = self.adversary.state()
        replace_atomically(self.path, lambda part: torch.save(state, part))

    def learning_rate(self) -> float:
        """Short warm-up, then a cosine to 3 % over the minutes asked for."""
        share = min(1.0, self.elapsed / (self.args.minutes * 60))
        return self.args.lr * min(1.0, (self.step + 1) / 100) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))

    def start_codebooks(self, corpus: Corpus) -> None:
        """k-means on the latents of many crops."""
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            latents = [self.codec.latent(corpus.batch(16)[0].to(self.device)).float() for _ in range(20)]
        with torch.no_grad():
            self.codec.quantizer(torch.cat([x.transpose(0, 1).flatten(1) for x in latents], 1)[None])

    def quantized(self, pcm: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """What the decoder gets [b, dim, frames], and the encoder's own losses by name, weighted."""
        with torch.autocast(self.device, torch.bfloat16):
            if self.args.freeze_encoder:
                with torch.no_grad():
                    return self.codec.quantizer.decode(self.codec.encode(pcm)), {}
            latent = self.codec.latent(pcm)
        latent = latent.float()
        if self.step < self.args.warm:
            return latent, {}
        latent, first, commit = self.codec.quantizer(latent)
        if self.new_student > 0:
            self.new_student -= 1
            first = first.detach()
        distill = losses.distillation(self.student(first.transpose(1, 2)), teacher)
        return latent, {"commit": self.args.commit * commit, "distill": self.args.distill * distill}

    def train_step(self, corpus: Corpus) -> dict:
        """One batch; returns the losses by name."""
        pcm, teacher = (x.to(self.device) for x in corpus.batch(self.args.batch))
        if self.step == self.args.warm and not self.args.freeze_encoder:
            self.start_codebooks(corpus)
        latent, parts = self.quantized(pcm, teacher)
        with torch.autocast(self.device, torch.bfloat16):
            made = self.codec.synthesise(latent)
        made, real = made.float()[:, 0], pcm[:, 0]
        windows = np.random.default_rng(self.step).permutation(list(losses.WINDOWS))[:2].tolist()
        parts["spectral"] = losses.spectral(made, real, windows)
        parts["wave"] = 0.1 * (made - real).abs().mean() / (real.abs().mean() + 1e-2)
        report = {}
        if self.adversary is not None:
            report["judge"] = self.adversary.learn(made, real)
            against = self.adversary.decoder_loss(made, real)
            parts |= {"fool": self.args.fool * against["fool"], "match": self.args.match * against["match"]}
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad()
        sum(parts.values()).backward()
        nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        return report | {name: value.item() for name, value in parts.items()}

    def run(self) -> None:
        """Train until the minutes are used up, saving every three."""
        corpus = Corpus(self.args.frames, self.args.seed + self.step, self.args.agent)
        self.codec.train(not self.args.freeze_encoder)
        saved, watch = time.monotonic(), pace.Stopwatch(self.device, self.args.threads)
        with tqdm(total=int(self.args.minutes * 60), initial=int(self.elapsed), unit="s", mininterval=20) as bar:
            while self.elapsed < min(self.args.minutes, self.args.until or self.args.minutes) * 60:
                pace.adapt(self.step, self.args.threads)
                report = self.train_step(corpus)
                self.step += 1
                took = watch.lap()
                self.elapsed += took
                self.curve.add(self.step, self.elapsed, report)
                bar.set_postfix(
                    step=self.step,
                    s=f"{took:.2f}",
                    **{k: f"{v:.3f}" for k, v in self.curve.smooth().items()},
                    refresh=False,
                )
                bar.update(int(self.elapsed) - bar.n)
                if time.monotonic() - saved > 180:
                    self.save()
                    corpus.look_for_teacher()
                    saved = time.monotonic()
        self.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec")
    parser.add_argument("--start-from", default="", help="checkpoint to begin with when this name has none")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--until", type=float, default=0, help="end this run here, part of the way through the minutes")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--warm", type=int, default=150, help="steps without quantization at the start")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--commit", type=float, default=0.1)
    parser.add_argument("--distill", type=float, default=0.5)
    parser.add_argument(
        "--agent", type=float, default=1.0, help="how much more often than usual the agent's voice is drawn"
    )
    parser.add_argument("--freeze-encoder", action="store_true")
    parser.add_argument("--adversary", action="store_true", help="train against discriminators too")
    parser.add_argument("--fool", type=float, default=0.1, help="weight of being taken for real")
    parser.add_argument("--match", type=float, default=0.3, help="weight of what the discriminators see")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pace.keep_memory()
    Trainer(args).run()


if __name__ == "__main__":
    main()
