"""Train the language model: `python -m rustymoshi_training.lm_train --minutes 45`. The same command again resumes.

New shards of codes are taken in while it runs. The learning rate follows the minutes trained so far, a minute
being a minute of all `--threads`, however long it took to get.
"""

import argparse
import copy
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from . import run, together
from .checkpoints import load_codec
from .ear import Ear
from .lm import Lm, LmConfig
from .lm_data import Conversations
from .tokens import tokenizer

AVERAGE_DECAY = 0.995
# A restored model's listening heads are new: so many steps they learn alone, else they would spoil what it hears.
NEW_EAR_STEPS = 300


class Trainer(run.Run):
    """Model, running average, optimizer and checkpoint of one run."""

    WARM_UP, LEAST = 50, 0.05

    def __init__(self, args):
        super().__init__(args)
        saved, own = self.saved()
        self.config = self._config(saved)
        self.lm = Lm(self.config).to(self.device)
        self.ear = Ear(self.config.dim).to(self.device)
        self.optimizers = self._optimizers()
        self.average = copy.deepcopy(self.lm)
        self.new_ear = 0
        if saved is not None:
            self._resume(saved, own)

    def _config(self, saved: dict | None) -> LmConfig:
        """Of the checkpoint to begin with; a new model's fits tokenizer and codec."""
        if saved is None:
            return LmConfig(text_card=tokenizer().vocab_size(), card=load_codec(self.args.codec).config.bins)
        return LmConfig(**saved["config"])

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By name. Muon (Jordan et al. 2024) moves the temporal transformer's matrices in all directions alike, at
        AdamW's rate; tables, heads and the depth transformer, of which a step sees some rows, are left to AdamW."""
        named = list(self.lm.named_parameters())
        temporal = [p for name, p in named if name.startswith("transformer.") and p.dim() == 2]
        tables = [p for name, p in named if not name.startswith("transformer.") and p.dim() == 2]
        others = [p for _, p in named if p.dim() != 2]
        adamw = partial(torch.optim.AdamW, lr=self.args.lr, betas=(0.9, 0.97), fused=True)
        return {
            "temporal": torch.optim.Muon(temporal, lr=self.args.lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            "rest": adamw([dict(params=tables, weight_decay=0.05), dict(params=others, weight_decay=0.0)]),
            "ear": adamw(self.ear.parameters()),
        }

    def _resume(self, saved: dict, own: bool) -> None:
        self.lm.load_state_dict(saved["lm" if own else "average"])
        self.average.load_state_dict(saved["average"])
        if "ear" in saved:
            self.ear.load_state_dict(saved["ear"])
        self.new_ear = saved.get("new_ear", 0 if "ear" in saved else NEW_EAR_STEPS)
        if not own:
            return
        for name, state in saved.get("optimizers", {}).items():
            self.optimizers[name].load_state_dict(state)
        self.elapsed, self.step = saved["elapsed"], saved["step"]

    def checkpoint(self) -> dict:
        return dict(
            lm=self.lm.state_dict(),
            average=self.average.state_dict(),
            optimizers={name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            ear=self.ear.state_dict(),
            new_ear=self.new_ear,
            config=asdict(self.config),
        )

    def train_step(self, data: Conversations) -> dict:
        """One batch, of conversations or of listening alone; returns the losses by name."""
        if self.new_ear > 0:
            self.new_ear -= 1
            return self._ear_step(data)
        # Not drawn from the data's numbers: several processes must do the same.
        if np.random.default_rng([self.args.seed, self.step]).random() < self.args.practice:
            table, lines = data.practice(self.args.batch, self.args.frames)
            with torch.autocast(self.device, torch.bfloat16):
                hidden = self.lm.heard(table.to(self.device))
            losses = dict(zip(("sounds", "practice"), self.ear(*hidden, lines), strict=True))
            return self._update(self.args.ear_weight * sum(losses.values()), losses)
        *batch, lines = data.batch(self.args.batch, self.args.frames, self.args.depth_share)
        with torch.autocast(self.device, torch.bfloat16):
            losses, hidden = self.lm(*[x.to(self.device) for x in batch])
        losses["sounds"], losses["heard"] = self.ear(*hidden, lines)
        total = self.args.text_weight * losses["text"] + losses["semantic"] + losses["acoustic"]
        return self._update(total + self.args.ear_weight * (losses["sounds"] + losses["heard"]), losses)

    def _ear_step(self, data: Conversations) -> dict:
        """One batch of listening alone from which only the listening heads learn."""
        table, lines = data.practice(self.args.batch, self.args.frames)
        with torch.autocast(self.device, torch.bfloat16), torch.no_grad():
            hidden = self.lm.heard(table.to(self.device))
        losses = dict(zip(("sounds", "practice"), self.ear(*hidden, lines), strict=True))
        self.optimizers["ear"].zero_grad()
        sum(losses.values()).backward()
        together.average_gradients(self.ear.parameters())
        self.optimizers["ear"].step()
        return {k: v.item() for k, v in losses.items()}

    def _update(self, total: torch.Tensor, losses: dict) -> dict:
        """Follow the gradient of `total`; `losses` as numbers."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
            optimizer.zero_grad()
        total.backward()
        together.average_gradients([*self.lm.parameters(), *self.ear.parameters()])
        nn.utils.clip_grad_norm_(self.lm.parameters(), 1.0)
        for optimizer in self.optimizers.values():
            optimizer.step()
        decay = min(AVERAGE_DECAY, self.step / (self.step + 20))
        get_ema_multi_avg_fn(decay)(list(self.average.parameters()), list(self.lm.parameters()), None)
        return {k: v.item() for k, v in losses.items()}

    def run(self) -> None:
        """Train until the minutes are used up."""
        seed = self.args.seed + self.step + 1_000_003 * together.rank()
        bins = load_codec(self.args.codec).config.bins
        if bins != self.config.card:
            raise ValueError(
                f"{self.args.codec} has codebooks of {bins}, the language model knows {self.config.card}: see `recode`"
            )
        data = Conversations(self.args.codec, self.config, seed)
        self.go(lambda: self.train_step(data), data.look_for_more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="lm")
    parser.add_argument("--codec", default="codec_frozen")
    run.Run.add_arguments(parser, minutes=45, batch=8, lr=1.5e-3)
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--depth-share", type=float, default=0.25)
    parser.add_argument("--text-weight", type=float, default=3.0)
    parser.add_argument("--ear-weight", type=float, default=1.0)
    parser.add_argument("--practice", type=float, default=0.4, help="share of steps that only listen")
    run.main(parser, lambda args: Trainer(args).run())


if __name__ == "__main__":
    main()
