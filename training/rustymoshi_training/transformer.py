"""Causal attention with interleaved rotary positions and a window: the part that codec and language model share."""

import torch
import torch.nn.functional as F


def rotary(length: int, head_dim: int, max_period: float = 10_000.0, start: int = 0):
    """(cos, sin), each [length, head_dim / 2], for positions start .. start + length."""
    rate = max_period ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.arange(start, start + length, dtype=torch.float32)[:, None] * rate
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate interleaved pairs of x [b, h, t, d]."""
    pairs = x.float().unflatten(-1, (-1, 2))
    real, imag = pairs[..., 0], pairs[..., 1]
    return torch.stack([real * cos - imag * sin, real * sin + imag * cos], -1).flatten(-2).to(x.dtype)


def window_mask(queries: int, keys: int, context: int, device=None) -> torch.Tensor:
    """[queries, keys] true where a query (the last `queries` positions of `keys`) may look: t - context < k <= t."""
    at = torch.arange(keys - queries, keys, device=device)[:, None]
    k = torch.arange(keys, device=device)[None, :]
    return (k <= at) & (k > at - context)


def attend(q, k, v, mask) -> torch.Tensor:
    """Attention of q [b, h, t, d] over k, v [b, h, s, d] where `mask` says so, or (None, s = t) over all that is not
    later; returns [b, t, h * d]."""
    if q.device.type == "cpu" and torch.is_grad_enabled():
        out = _attend_written_out(q, k, v, mask)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return out.transpose(1, 2).flatten(2)


def _attend_written_out(q, k, v, mask) -> torch.Tensor:
    """The same without the fused kernel, whose backward pass is slow on a CPU: takes 14 % off a training step of some
    hundred positions."""
    ahead = torch.full((q.shape[2], k.shape[2]), float("-inf"), dtype=q.dtype)
    ahead = ahead.triu(1) if mask is None else ahead.masked_fill(mask, 0.0)
    scores = torch.baddbmm(ahead, (q * q.shape[3] ** -0.5).flatten(0, 1), k.flatten(0, 1).transpose(1, 2))
    return torch.bmm(scores.softmax(-1), v.flatten(0, 1)).unflatten(0, q.shape[:2])


def split_heads(x: torch.Tensor, heads: int):
    """Stacked projections [b, t, 3 * dim] to q, k, v, each [b, heads, t, dim / heads]."""
    return x.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
