"""Stepping equals teacher forcing; names are the published ones; what is exported is what is read back."""

import numpy as np
import pytest
import torch
from rustymoshi_training.export import codec_tensors, dequantized, lm_tensors
from rustymoshi_training.lm import DROPOUT, Lm, LmConfig, dropout, gated_width
from rustymoshi_training.session import Sampling, Session

SMALL = LmConfig(
    dim=32,
    heads=2,
    layers=2,
    context=7,
    text_card=20,
    card=16,
    depth_dim=16,
    depth_heads=2,
    depth_layers=2,
    depth_feedforward=24,
)


@pytest.fixture
def lm():
    torch.manual_seed(0)
    return Lm(SMALL).eval()


def test_the_step_loop_chooses_what_teacher_forcing_ranks_first(lm):
    user = np.random.default_rng(0).integers(0, 16, (2, 8, 20))
    table = Session(lm, codec=None, sampling=Sampling(audio=0)).run_codes(user)[1]
    t = torch.from_numpy(table)
    with torch.no_grad():
        z = lm.temporal(t[None, :, :-1])
        text = lm.text_linear(z)[0].argmax(-1)
        hidden = lm.depth(z[0], t[0, 1:], t[1:8, 1:].T)
        codes = torch.stack([lm.linears[k](hidden[:, k]).argmax(-1) for k in range(8)])
    assert (text == t[0, 1:]).all()
    assert (codes[0] == t[1, 1:]).all()
    assert (codes[1:, 2:] == t[2:9, 3:]).all()


def test_initial_tokens_stay_while_a_stream_is_in_its_delay(lm):
    table = Session(lm, codec=None).run_codes(np.zeros((1, 8, 5), np.int64))[0]
    assert table[0, 0] == 20 and (table[1:, 0] == 16).all()
    assert (table[2:9, 1] == 16).all() and table[1, 1] != 16


def test_gated_width_follows_the_published_rule():
    assert gated_width(4096, 16896) == 11264 and gated_width(1024, 4096) == 2688


def test_names_and_shapes_are_the_published_ones(lm):
    shapes = {k: tuple(v.shape) for k, v in lm.state_dict().items()}
    assert shapes["depformer.layers.0.self_attn.in_proj_weight"] == (8 * 3 * 16, 16)
    assert shapes["depformer.layers.1.gating.7.linear_in.weight"] == (32, 16)
    assert shapes["transformer.layers.0.norm1.alpha"] == (1, 1, 32)
    assert shapes["depformer_emb.6.weight"] == (17, 16) and "depformer_emb.7.weight" not in shapes
    assert (
        shapes["emb.15.weight"] == (17, 32)
        and shapes["text_emb.weight"] == (21, 32)
        and shapes["text_linear.weight"] == (20, 32)
    )


def test_int8_export_is_within_half_a_step_of_every_weight(lm):
    for tables in (False, True):
        stored = lm_tensors(lm, int8=True, tables=tables)
        assert (stored["emb.0.weight"].dtype == torch.int8) == tables
        back = dequantized(stored)
        assert set(back) == set(lm.state_dict())
        for name in ("text_linear.weight", *(["emb.0.weight", "depformer_emb.6.weight"] if tables else [])):
            step = stored[name + "_scb"][:, None] / 127
            assert ((back[name] - lm.state_dict()[name]).abs() <= 0.5 * step + 1e-6).all()


def test_losses_ignore_initial_targets_and_fall_for_the_right_answer(lm):
    table = torch.randint(0, 16, (2, 17, 6))
    goal = torch.randint(0, 16, (2, 9, 6))
    goal[:, 2:, 0] = -1
    rows = torch.arange(12)
    losses, _ = lm(table, goal, rows, torch.ones(2, 6))
    assert all(torch.isfinite(v) for v in losses.values())


def test_codebooks_stay_f32_in_the_exported_codec():
    from rustymoshi_training.codec import Codec, CodecConfig

    tensors = codec_tensors(
        Codec(CodecConfig(n_filters=4, dim=16, heads=2, feedforward=32, codebooks=2, bins=8, codebook_dim=8))
    )
    assert tensors["quantizer.rvq_first.vq.layers.0._codebook.embedding_sum"].dtype == torch.float32
    assert tensors["encoder.model.0.conv.conv.weight"].dtype == torch.bfloat16


def test_dropout_takes_its_share_and_keeps_the_mean():
    torch.manual_seed(1)
    one, other = (dropout(torch.ones(4, 100, 64)) for _ in range(2))
    assert abs((one == 0).float().mean() - DROPOUT) < 0.01
    assert abs(one.mean() - 1) < 0.02 and not torch.equal(one, other)
