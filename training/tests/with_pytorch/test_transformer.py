"""Attention as it is written out for CPUs."""

import pytest
import torch
import torch.nn.functional as F
from rustymoshi_training.transformer import attend, window_mask


@pytest.mark.parametrize("mask", [None, window_mask(33, 33, 10)])
def test_attention_to_the_past_is_the_fused_kernels_with_its_gradients(mask):
    torch.manual_seed(0)
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 2, 4, 33, 16))
    written, fused = attend(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
    torch.testing.assert_close(written, fused.transpose(1, 2).flatten(2))
    weight = torch.randn_like(fused)
    ours = torch.autograd.grad((written * weight.transpose(1, 2).flatten(2)).sum(), (q, k, v))
    theirs = torch.autograd.grad((fused * weight).sum(), (q, k, v))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
