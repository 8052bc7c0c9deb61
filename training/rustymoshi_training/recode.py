"""A language model for another codec: `python -m rustymoshi_training.recode --lm lm --codec OLD --to NEW --out NAME`.

What a model does with a frame hangs on its rows of embeddings. The same sound in both codecs' codes tells which rows
the new codes need, so that a frame looks as before: least squares, instead of minutes of training. Both codecs must
have encoded some of the same shards (`encode --codec OLD --most 20`, and the same with NEW).

`--last` is for a codec of `phase_train`: its last codebook means something else now, so what the model knew of that one
is forgotten; the others' rows stay, and nothing needs to be encoded before.
"""

import argparse
from dataclasses import asdict, replace

import numpy as np
import torch

from .checkpoints import load_codec, load_lm
from .lm import Lm
from .paths import folder, replace_atomically
from .streams import AGENT_BOOKS, DELAYS

# What is left of the last codebook's scores, so that no code of it is likelier than another at first.
UNDECIDED = 0.05
# How many frames' worth the mean row weighs against what a code's own frames say.
DOUBT = 4.0


def pairs(old: str, new: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Codes [8, frames] of the same sound in both codecs, of `user` and `agent`."""
    found: dict[str, list] = {"user": [], "agent": []}
    for kind in ("codes", "lines"):
        for path in sorted(folder(kind, new).glob("*.npz")):
            other = folder(kind, old) / path.name
            if not other.exists():
                continue
            a, b = np.load(other), np.load(path)
            for name in ("user", "agent") if kind == "codes" else ("codes",):
                found["user" if name == "codes" else name].append((a[name], b[name]))
    if not found["agent"]:
        raise FileNotFoundError(f"{old} and {new} have encoded none of the same conversations: see `encode --most`")
    return {who: tuple(np.concatenate(x, 1) for x in zip(*both, strict=True)) for who, both in found.items()}


def columns(codes: np.ndarray) -> np.ndarray:
    """What a step sees of codes [8, frames]: a frame's semantic code beside the others of the frame before."""
    delays = DELAYS[1 : 1 + AGENT_BOOKS]
    most, length = max(delays), codes.shape[1] - max(delays)
    return np.stack([row[most - delay : most - delay + length] for row, delay in zip(codes, delays, strict=True)])


def refit(tables: list[torch.Tensor], old: np.ndarray, new: np.ndarray, card: int) -> list[torch.Tensor]:
    """Tables [card + 1, d] whose sum of rows over `new` [k, n] is near to that of `tables` [old card + 1, d] over `old`
    [k, n]; the last row, of the initial token, stays. Codes that do not occur get the mean row."""
    count = len(tables)
    old, new = (torch.from_numpy(x.astype(np.int64)) for x in (old, new))
    means = [table[:-1].mean(0) for table in tables]
    missing = sum(table[codes] for table, codes in zip(tables, old, strict=True)) - sum(means)
    pairs = torch.zeros(count, card, count, card)
    sums = torch.zeros(count, card, missing.shape[1])
    for i in range(count):
        sums[i].index_add_(0, new[i], missing)
        for j in range(count):
            both = torch.bincount(new[i] * card + new[j], minlength=card * card)
            pairs[i, :, j] = both.view(card, card).float()
    normal = pairs.view(count * card, -1).double() + DOUBT * torch.eye(count * card, dtype=torch.float64)
    rows = torch.linalg.solve(normal, sums.flatten(0, 1).double()).float().view(count, card, -1)
    return [torch.cat([mean + row, table[-1:]]) for mean, row, table in zip(means, rows, tables, strict=True)]


@torch.no_grad()
def recode(lm: Lm, both: dict[str, tuple[np.ndarray, np.ndarray]], card: int) -> tuple[Lm, dict[str, float]]:
    """`lm` for a codec with `card` codes in a codebook, and which share of what a step saw of either voice is there
    again."""
    state, kept = lm.state_dict(), {}
    for who, first in (("agent", 0), ("user", AGENT_BOOKS)):
        old, new = (columns(x) for x in both[who])
        names = [f"emb.{first + k}.weight" for k in range(AGENT_BOOKS)]
        tables = [state[name] for name in names]
        fitted = refit(tables, old, new, card)
        before, after = (
            sum(t[torch.from_numpy(c.astype(np.int64))] for t, c in zip(x, codes, strict=True))
            for x, codes in ((tables, old), (fitted, new))
        )
        kept[who] = 1 - float((before - after).var(0).sum() / before.var(0).sum())
        state |= dict(zip(names, fitted, strict=True))
    # The depth transformer reads and writes one codebook at a time.
    old, new = both["agent"]
    for k in range(AGENT_BOOKS):
        one = slice(k, k + 1)
        if k < len(lm.depformer_emb):
            name = f"depformer_emb.{k}.weight"
            state[name] = refit([state[name]], old[one], new[one], card)[0]
        name = f"linears.{k}.weight"
        rows = torch.cat([state[name], state[name][:1]])
        state[name] = refit([rows], old[one], new[one], card)[0][:-1]
    made = Lm(replace(lm.config, card=card))
    made.load_state_dict(state)
    return made, kept


@torch.no_grad()
def forget_last(lm: Lm) -> Lm:
    """`lm` with the mean row for every code of the last codebook, of either voice, and next to no opinion of which the
    agent's is: what one that never heard it would know. Its own codes before it in a frame do not hang on it."""
    for table in (lm.emb[AGENT_BOOKS - 1], lm.emb[2 * AGENT_BOOKS - 1]):
        table.weight[:-1] = table.weight[:-1].mean(0)
    lm.linears[AGENT_BOOKS - 1].weight.mul_(UNDECIDED)
    return lm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lm", default="lm")
    parser.add_argument("--codec", help="whose codes the language model knows: needed with --to")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", help="whose codes it shall know")
    what.add_argument("--last", action="store_true", help="only the last codebook is another one: see above")
    parser.add_argument(
        "--out", required=True, help="name of the new checkpoint; `lm_train --start-from` goes on with it"
    )
    args = parser.parse_args()
    if args.to and not args.codec:
        parser.error("--to fits rows to those for the codes known so far: say with --codec whose these are")
    if args.last:
        lm, kept = forget_last(load_lm(args.lm)), {}
    else:
        lm, kept = recode(load_lm(args.lm), pairs(args.codec, args.to), load_codec(args.to).config.bins)
    for who, share in kept.items():
        print(f"{who}: {share:.0%} of what a step saw is there again")
    state = dict(lm=lm.state_dict(), average=lm.state_dict(), config=asdict(lm.config), elapsed=0.0, step=0)
    replace_atomically(folder("checkpoints") / f"{args.out}.pt", lambda part: torch.save(state, part))


if __name__ == "__main__":
    main()
