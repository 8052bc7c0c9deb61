"""Muon for matrices beside AdamW for the rest (Jordan et al. 2024): the update of a matrix has all its singular values
near one, so that rare directions are learned as fast as frequent ones."""

from collections.abc import Iterable

import torch
from torch import nn

from . import together

MOMENTUM = 0.95
# An update's root mean square is so much of the learning rate: what AdamW's usually is, so that both share one rate.
ROOT_MEAN_SQUARE = 0.2
# Quintic steps of the Newton-Schulz iteration that drive singular values towards one (Jordan et al. 2024, "Muon").
QUINTIC, ROUNDS = (3.4445, -4.7750, 2.0315), 5


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """[m, n] with its singular values driven to about one. Works on the smaller Gram matrix alone, which for the wide
    matrices of a convolution or a feed-forward block is most of the work saved."""
    flip = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if flip else matrix
    x = x / (x.norm() + 1e-7)
    gram, product = x @ x.T, None
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        step.diagonal().add_(a)
        product = step if product is None else step @ product
        gram = step @ gram @ step
    x = product @ x
    return x.T if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, on parameters of two or more dimensions; all but the first are one (a convolution's
    inputs and taps)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradients, which all processes of a training have alike: each makes its share of the updates."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            updates = [self._update(p, number) for number, p in enumerate(params)]
            together.add_up(updates)
            for p, update in zip(params, updates, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(update, alpha=group["lr"])

    def _update(self, p: nn.Parameter, number: int) -> torch.Tensor:
        """What to subtract at a rate of one; zero where another process works it out."""
        momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
        momentum.lerp_(p.grad, 1 - MOMENTUM)
        if number % together.count() != together.rank():
            return torch.zeros_like(p)
        ahead = p.grad.lerp(momentum, MOMENTUM).flatten(1)
        return (orthogonal(ahead) * (ROOT_MEAN_SQUARE * max(ahead.shape) ** 0.5)).view_as(p)


class Together:
    """Several optimizers as one."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict]:
        """Of all."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Follow the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> list[dict]:
        """Of each."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict]) -> None:
        """What `state_dict` has returned."""
        if isinstance(states, dict):
            raise ValueError(
                "the checkpoint has the state of one optimizer, not of Muon and AdamW: it is of an earlier version; "
                "go on from it under a new --name with --start-from"
            )
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
