"""Attention as it is written out for CPUs."""

import torch
import torch.nn.functional as F
from rustymoshi.training.transformer import attend


def test_attention_to_the_past_is_the_fused_kernels_with_its_gradients():
    torch.manual_seed(0)
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 2, 4, 33, 16))
    written, fused = attend(q, k, v, None), F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(written, fused.transpose(1, 2).flatten(2))
    weight = torch.randn_like(fused)
    ours = torch.autograd.grad((written * weight.transpose(1, 2).flatten(2)).sum(), (q, k, v))
    theirs = torch.autograd.grad((fused * weight).sum(), (q, k, v))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
