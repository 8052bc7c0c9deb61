"""Train the codec: `python -m rustymoshi_training.codec_train --minutes 60`. Run the same command again to resume.

The learning rate follows the minutes trained so far; a minute is a minute of all `--threads`,
however long it took to get.
`decoder_train` goes on with the decoder alone.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from . import losses, run, sketch, together
from .checkpoints import codec_of
from .codec import Codec, CodecConfig
from .codec_data import Batch, Sounds
from .codec_run import Run
from .corpus import TEACHER_DIM
from .ear import Heard, SoundReader

# A restored codec comes without what reads the teacher's features and speech sounds: so many steps that learns alone.
NEW_READERS_STEPS = 300


class Trainer(Run):
    """Encoder, codebooks and decoder, and those who read what the codes are to tell."""

    def __init__(self, args):
        super().__init__(args)
        saved, own = self.saved()
        self.codec = self._codec(saved, own).to(self.device)
        self.sketch = sketch.Sketch(self.codec.config.dim).to(self.device)
        self.student = nn.Linear(self.codec.config.dim, TEACHER_DIM).to(self.device)
        # What is said is read off the semantic codebook alone, and off all of them.
        self.readers = nn.ModuleList([SoundReader(self.codec.config.dim) for _ in range(2)]).to(self.device)
        self.new_readers = 0
        self.params = [p for x in (self.codec, self.student, self.readers, self.sketch) for p in x.parameters()]
        self.optimizer = torch.optim.AdamW(self.params, lr=args.lr, betas=(0.8, 0.99), weight_decay=1e-3)
        for layer in self.codec.encoder.model[: args.hold]:
            layer.requires_grad_(False)
        if saved is not None:
            self._begin(saved, own)

    def _codec(self, saved: dict | None, own: bool) -> Codec:
        """The saved one, which another run begins with larger codebooks where that is asked for, or a new one."""
        if saved is None:
            return Codec(CodecConfig(bins=self.args.bins or CodecConfig.bins))
        codec = codec_of(saved["codec"])
        if self.args.bins and not own and self.args.bins != codec.config.bins:
            codec.quantizer.grow(self.args.bins)
            codec.config = replace(codec.config, bins=self.args.bins)
        return codec

    def _begin(self, saved: dict, own: bool) -> None:
        if "readers" in saved:
            self.student.load_state_dict(saved["student"])
            self.readers.load_state_dict(saved["readers"])
        if "sketch" in saved:
            self.sketch.load_state_dict(saved["sketch"])
        self.new_readers = saved.get("new_readers", NEW_READERS_STEPS)
        if own:
            self.resume(saved)

    def state(self) -> dict:
        return dict(student=self.student.state_dict(), readers=self.readers.state_dict(), new_readers=self.new_readers)

    def started(self) -> bool:
        """Whether there are codebooks, as there are in a restored codec from the start."""
        return bool(self.codec.quantizer.rvq_first.books[0]._initialized)

    def start_codebooks(self, batches: Iterator[Batch]) -> None:
        """k-means on the latents of many crops."""
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            latents = [self.codec.latent(next(batches).pcm.to(self.device)).float() for _ in range(20)]
        with torch.no_grad():
            self.codec.quantizer(torch.cat([x.transpose(0, 1).flatten(1) for x in latents], 1)[None])

    def quantized(
        self, latent: torch.Tensor, teacher: torch.Tensor, lines: list[Heard]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of unquantized latents [b, dim, frames] what the decoder gets [b, dim, frames], and the losses of the codes
        themselves by name, weighted."""
        books = self.codec.quantizer
        unquantized = self.step < self.args.warm and not self.started()
        latent, first, commit = books.through(latent) if unquantized else books(latent)
        read = (first, latent)
        if self.new_readers > 0:
            self.new_readers -= 1
            read = tuple(x.detach() for x in read)
        distill = losses.distillation(self.student(read[0].transpose(1, 2)), teacher.to(self.device))
        semantic, all_books = (reader(x, lines) for reader, x in zip(self.readers, read, strict=True))
        return latent, {
            "commit": self.args.commit * commit,
            "distill": self.args.distill * distill,
            "semantic": self.args.sounds * semantic,
            "sounds": self.args.sounds * all_books,
        }

    def train_step(self, batch: Batch) -> dict:
        """One batch; returns the losses by name."""
        with torch.autocast(self.device, torch.bfloat16):
            latent = self.codec.latent(batch.pcm.to(self.device))
        latent, parts = self.quantized(latent.float(), batch.teacher, batch.lines)
        wanted = batch.wanted.to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            features = self.codec.features(latent)
        parts |= self.sketch_losses(features, sketch.draw(wanted))
        sound, report = self.sound_losses(features, wanted)
        report |= self.descend(parts | sound)
        together.follow_first(self.codec.buffers())
        return report

    def run(self) -> None:
        """Train until the minutes are used up."""
        seed = self.args.seed + self.step + 1_000_003 * together.rank()
        sounds = Sounds(self.args.frames, seed, self.args.agent, self.args.answers)
        batches = sounds.batches(self.args.batch, self.args.lines)
        if self.step < self.args.warm and not self.started():
            batches = self.with_codebooks(batches)
        self.codec.train()
        self.go(lambda: self.train_step(next(batches)), sounds.look_for_more)

    def with_codebooks(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; once the steps without codebooks are done, these are started."""
        for batch in batches:
            if self.step == self.args.warm:
                self.start_codebooks(batches)
            yield batch


def add_code_arguments(parser) -> None:
    """What trainings of codes can be told."""
    parser.add_argument("--bins", type=int, default=0, help="codebooks of so many vectors: larger than the start's")
    parser.add_argument("--commit", type=float, default=0.25)
    parser.add_argument("--distill", type=float, default=0.5)
    parser.add_argument("--sounds", type=float, default=0.3, help="weight of the speech sounds read off the codes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codec")
    parser.add_argument("--lines", type=int, default=5, help="how many of a batch are users' lines")
    parser.add_argument("--answers", type=int, default=0, help="how many are the agent's answers in conversations")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--decoded", type=int, default=14, help="how many of the frames are decoded")
    parser.add_argument("--warm", type=int, default=150, help="steps without quantization at the start")
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
    add_code_arguments(parser)
    Run.add_arguments(parser, minutes=60, batch=8)
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
