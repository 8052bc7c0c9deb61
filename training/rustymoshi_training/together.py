"""One training in several processes, each with examples of its own: on a CPU, processes of one thread each do not wait
for each other within a step.

`torchrun --standalone --nproc-per-node 2 -m rustymoshi_training.codec_train --threads 1 …`; without `torchrun` these
functions do nothing.
"""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from tqdm import tqdm


def begin() -> None:
    """Join the others that were started together with this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def rank() -> int:
    """Which of the processes this is; the first one saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def progress(minutes: float, elapsed: float) -> tqdm:
    """A bar of the seconds trained of so many minutes, shown by the first process."""
    return tqdm(total=int(minutes * 60), initial=int(elapsed), unit="s", mininterval=20, disable=rank() != 0)


def average_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Every process goes on with the mean of all gradients; one that has none counts as zero: a batch may well lack
    what some parameter learns from."""
    if not dist.is_initialized():
        return
    learning = [p for p in parameters if p.requires_grad]
    had = torch.tensor([float(p.grad is not None) for p in learning], device=learning[0].device)
    flat = torch.cat([*((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learning), had])
    dist.all_reduce(flat)
    *gradients, had = flat.split([*(p.numel() for p in learning), len(learning)])
    for parameter, gradient, processes in zip(learning, gradients, had.tolist(), strict=True):
        if processes > 0:
            parameter.grad = gradient.view_as(parameter) / dist.get_world_size()


def follow_first(tensors: Iterable[torch.Tensor]) -> None:
    """Every process takes over these values of the first one: what is not learned by gradients."""
    if not dist.is_initialized():
        return
    tensors = list(tensors)
    flat = torch.cat([t.detach().flatten().float() for t in tensors])
    dist.broadcast(flat, 0)
    with torch.no_grad():
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def end() -> None:
    """Leave the others."""
    if dist.is_initialized():
        dist.destroy_process_group()
