"""Train the codec: `python -m rustymoshi.training.codec_train --minutes 60`. Run the same command again to resume.

The learning rate follows the minutes trained so far; a minute is a minute of all `--threads`,
however long it took to get.
`--freeze-encoder` keeps encoder and codebooks (and so all codes) as they are and goes on with the decoder alone.
"""

import argparse
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from . import losses, pace, together
from .adversary import Adversary
from .codec import Codec, CodecConfig
from .codec_data import Batch, Sounds
from .corpus import TEACHER_DIM
from .curves import Curve
from .ear import SoundReader
from .paths import FRAME, folder, replace_atomically

# A restored codec comes without what reads the teacher's features and speech sounds: so many steps that learns alone.
NEW_READERS_STEPS = 300


class Trainer:
    """Model, optimizer, schedule and checkpoint of one run."""

    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.codec = Codec(CodecConfig()).to(self.device)
        self.student = nn.Linear(self.codec.config.dim, TEACHER_DIM).to(self.device)
        # What is said is read off the semantic codebook alone, and off all of them.
        self.readers = nn.ModuleList([SoundReader(self.codec.config.dim) for _ in range(2)]).to(self.device)
        self.elapsed, self.step, self.new_readers = 0.0, 0, 0
        self.path = folder("checkpoints") / f"{args.name}.pt"
        self.curve = Curve(folder("curves") / f"{args.name}.csv")
        parts = (
            [
                self.codec.decoder,
                self.codec.decoder_transformer,
                self.codec.upsample,
                self.codec.quantizer.rvq_first.output_proj,
                self.codec.quantizer.rvq_rest.output_proj,
            ]
            if args.freeze_encoder
            else [self.codec, self.student, self.readers]
        )
        self.params = [p for part in parts for p in part.parameters()]
        self.optimizer = torch.optim.AdamW(self.params, lr=args.lr, betas=(0.8, 0.99), weight_decay=1e-3)
        for layer in self.codec.encoder.model[: args.hold]:
            layer.requires_grad_(False)
        self.adversary = Adversary().to(self.device) if args.adversary else None
        self._resume()

    def _resume(self) -> None:
        source = self.path if self.path.exists() else folder("checkpoints") / f"{self.args.start_from}.pt"
        if not source.is_file():
            return
        saved = torch.load(source, map_location=self.device, weights_only=True)
        self.codec.load_state_dict(saved["codec"])
        if "readers" in saved:
            self.student.load_state_dict(saved["student"])
            self.readers.load_state_dict(saved["readers"])
        self.new_readers = saved.get("new_readers", NEW_READERS_STEPS)
        if source == self.path:
            self.optimizer.load_state_dict(saved["optimizer"])
            self.elapsed, self.step = saved["elapsed"], saved["step"]
            if self.adversary is not None and "adversary" in saved:
                self.adversary.resume(saved["adversary"])

    def save(self) -> None:
        """Write the checkpoint in one move."""
        if together.rank() != 0:
            return
        state = dict(
            codec=self.codec.state_dict(),
            student=self.student.state_dict(),
            readers=self.readers.state_dict(),
            new_readers=self.new_readers,
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

    def started(self) -> bool:
        """Whether there are codebooks, as there are in a restored codec from the start."""
        return bool(self.codec.quantizer.rvq_first.books[0]._initialized)

    def start_codebooks(self, batches: Iterator[Batch]) -> None:
        """k-means on the latents of many crops."""
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            latents = [self.codec.latent(next(batches).pcm.to(self.device)).float() for _ in range(20)]
        with torch.no_grad():
            self.codec.quantizer(torch.cat([x.transpose(0, 1).flatten(1) for x in latents], 1)[None])

    def quantized(self, batch: Batch, pcm: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """What the decoder gets [b, dim, frames], and the encoder's own losses by name, weighted."""
        with torch.autocast(self.device, torch.bfloat16):
            if self.args.freeze_encoder:
                codes = self.codec.encode(pcm)
                return self.codec.quantizer.decode(codes), {}
            latent = self.codec.latent(pcm)
        latent = latent.float()
        if self.step < self.args.warm and not self.started():
            return latent, {}
        latent, first, commit = self.codec.quantizer(latent)
        read = (first, latent)
        if self.new_readers > 0:
            self.new_readers -= 1
            read = tuple(x.detach() for x in read)
        distill = losses.distillation(self.student(read[0].transpose(1, 2)), batch.teacher.to(self.device))
        semantic, all_books = (reader(x, batch.lines) for reader, x in zip(self.readers, read, strict=True))
        return latent, {
            "commit": self.args.commit * commit,
            "distill": self.args.distill * distill,
            "semantic": self.args.sounds * semantic,
            "sounds": self.args.sounds * all_books,
        }

    def crop(self, latent: torch.Tensor, pcm: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of every row the stretch of `--decoded` frames that is decoded: latents and [b, samples]."""
        length = min(self.args.decoded, latent.shape[-1])
        starts = torch.randint(latent.shape[-1] - length + 1, (len(latent),)).tolist()
        return (
            torch.stack([row[:, at : at + length] for row, at in zip(latent, starts, strict=True)]),
            torch.stack([row[0, at * FRAME : (at + length) * FRAME] for row, at in zip(pcm, starts, strict=True)]),
        )

    def train_step(self, batch: Batch) -> dict:
        """One batch; returns the losses by name."""
        pcm = batch.pcm.to(self.device)
        latent, parts = self.quantized(batch, pcm)
        latent, real = self.crop(latent, pcm)
        with torch.autocast(self.device, torch.bfloat16):
            made = self.codec.synthesise(latent)
        made = made.float()[:, 0]
        windows = np.random.default_rng(self.step).permutation(list(losses.WINDOWS))[:2].tolist()
        parts["spectral"] = losses.spectral(made, real, windows)
        parts["wave"] = self.args.wave * (made - real).abs().mean() / (real.abs().mean() + 1e-2)
        parts["envelope"] = self.args.envelope * losses.intelligibility(made, real)
        report = {}
        if self.adversary is not None:
            report["judge"] = self.adversary.learn(made, real)
            against = self.adversary.decoder_loss(made, real)
            parts |= {"fool": self.args.fool * against["fool"], "match": self.args.match * against["match"]}
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad()
        sum(parts.values()).backward()
        together.average_gradients(self.params)
        nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        together.follow_first(self.codec.buffers())
        return report | {name: value.item() for name, value in parts.items()}

    def run(self) -> None:
        """Train until the minutes are used up, saving every three."""
        seed = self.args.seed + self.step + 1_000_003 * together.rank()
        sounds = Sounds(self.args.frames, seed, self.args.agent, self.args.answers)
        batches = sounds.batches(self.args.batch, self.args.lines)
        self.codec.train(not self.args.freeze_encoder)
        saved, watch = time.monotonic(), pace.Stopwatch(self.device, self.args.threads)
        with together.progress(self.args.minutes, self.elapsed) as bar:
            while self.elapsed < min(self.args.minutes, self.args.until or self.args.minutes) * 60:
                pace.adapt(self.step, self.args.threads)
                if self.step == self.args.warm and not self.started():
                    self.start_codebooks(batches)
                report = self.train_step(next(batches))
                self.step += 1
                took = torch.tensor([watch.lap()])
                together.follow_first([took])
                took = took.item()
                self.elapsed += took
                if together.rank() == 0:
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
                    sounds.look_for_more()
                    saved = time.monotonic()
        self.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec")
    parser.add_argument("--start-from", default="", help="checkpoint to begin with when this name has none")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--until", type=float, default=0, help="end this run here, part of the way through the minutes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lines", type=int, default=5, help="how many of a batch are users' lines")
    parser.add_argument("--answers", type=int, default=0, help="how many are the agent's answers in conversations")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--decoded", type=int, default=14, help="how many of the frames are decoded")
    parser.add_argument("--warm", type=int, default=150, help="steps without quantization at the start")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--commit", type=float, default=0.1)
    parser.add_argument("--distill", type=float, default=0.5)
    parser.add_argument("--sounds", type=float, default=0.3, help="weight of the speech sounds read off the codes")
    parser.add_argument("--envelope", type=float, default=1.0, help="weight of what STOI measures")
    parser.add_argument("--wave", type=float, default=0.1, help="weight of the waveform itself, phases and all")
    parser.add_argument(
        "--agent", type=float, default=1.0, help="how much more often than usual the agent's voice is drawn"
    )
    parser.add_argument(
        "--hold",
        type=int,
        default=0,
        help="how many of the encoder's first layers stay as they are: two work at 24 kHz, take half of its time, and "
        "have learned early what they can",
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
    together.begin()
    Trainer(args).run()
    together.end()


if __name__ == "__main__":
    main()
