"""The codec's shapes, causality and published names."""

import pytest
import torch
from rustymoshi_training.codec import Codec, CodecConfig

SMALL = CodecConfig(n_filters=4, dim=16, heads=2, feedforward=32, codebooks=3, bins=8, codebook_dim=8, context=6)


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return Codec(SMALL).eval()


def test_one_frame_is_1920_samples_both_ways(codec):
    codes = codec.encode(torch.randn(2, 1, 1920 * 5) * 0.1)
    assert codes.shape == (2, 3, 5)
    assert codec.decode(codes).shape == (2, 1, 1920 * 5)


def test_later_sound_does_not_change_earlier_latents(codec):
    pcm = torch.randn(1, 1, 1920 * 6) * 0.1
    changed = pcm.clone()
    changed[..., 1920 * 4 :] = 0.5
    with torch.no_grad():
        a, b = codec.latent(pcm), codec.latent(changed)
    assert torch.allclose(a[..., :4], b[..., :4], atol=1e-6) and not torch.allclose(a[..., 4:], b[..., 4:], atol=1e-3)


def test_later_codes_do_not_change_earlier_sound(codec):
    codes = torch.randint(0, 8, (1, 3, 6))
    changed = codes.clone()
    changed[..., 5] = (codes[..., 5] + 1) % 8
    assert torch.allclose(codec.decode(codes)[..., : 1920 * 5], codec.decode(changed)[..., : 1920 * 5], atol=1e-6)


def test_first_and_rest_code_the_same_input(codec):
    x = torch.randn(1, 16, 4)
    codes = codec.quantizer.encode(x)
    assert (codes[:, :1] == codec.quantizer.rvq_first.encode(x)).all() and (
        codes[:, 1:] == codec.quantizer.rvq_rest.encode(x)
    ).all()


def test_codebooks_follow_their_data(codec):
    torch.manual_seed(1)
    x = torch.randn(1, 16, 400)
    codec.train()
    before = None
    for _ in range(30):
        loss = float(codec.quantizer(x)[2].detach())
        before = before or loss
    assert loss < before


def test_names_are_the_published_ones(codec):
    names = set(codec.state_dict())
    for name in (
        "encoder.model.1.block.3.conv.conv.bias",
        "encoder.model.14.conv.conv.weight",
        "decoder.model.11.convtr.convtr.weight",
        "downsample.conv.conv.conv.weight",
        "upsample.convtr.convtr.convtr.weight",
        "decoder_transformer.transformer.layers.1.layer_scale_2.scale",
        "encoder_transformer.transformer.layers.0.self_attn.in_proj_weight",
        "quantizer.rvq_rest.vq.layers.1._codebook.embedding_sum",
        "quantizer.rvq_first.output_proj.weight",
    ):
        assert name in names


def test_a_stretch_sounds_as_it_does_within_the_whole(codec):
    latent = codec.quantizer.decode(torch.randint(0, 8, (2, 3, 8)))
    with torch.no_grad():
        whole = codec.synthesise(latent)[:, 0]
        parts = codec.stretches(codec.features(latent), [1, 5], 3)
    for row, part, at in zip(whole, parts, (1, 5), strict=True):
        assert torch.allclose(row[at * 1920 : (at + 3) * 1920], part, atol=1e-6)
