"""An export computes the same numbers in the published PyTorch package (`pip install --no-deps moshi einops`)."""

import json

import pytest
import torch
from moshi.models import loaders
from rustymoshi_training.codec import Codec, CodecConfig
from rustymoshi_training.export import codec_tensors, lm_tensors
from rustymoshi_training.lm import Lm, LmConfig
from safetensors.torch import save_file

RUNTIME_KEYS = (
    "moshi_name",
    "mimi_name",
    "mimi_config_name",
    "tokenizer_name",
    "model_type",
    "lm_gen_config",
    "existing_text_end_padding_id",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("export")
    codec = Codec(
        CodecConfig(n_filters=4, dim=32, heads=2, feedforward=64, codebooks=8, bins=16, codebook_dim=8, context=8)
    ).eval()
    lm = Lm(
        LmConfig(
            dim=64,
            heads=2,
            layers=2,
            context=9,
            text_card=40,
            card=16,
            depth_dim=32,
            depth_heads=2,
            depth_feedforward=48,
        )
    ).eval()
    codec.load_state_dict({k: v.float() for k, v in codec_tensors(codec).items()})
    lm.load_state_dict({k: v.float() for k, v in lm_tensors(lm, int8=False).items()})
    save_file(codec_tensors(codec), folder / "mimi.safetensors")
    save_file(lm_tensors(lm, int8=False), folder / "model.safetensors")
    return folder, lm, codec


def test_codec_codes_and_sound_agree(exported):
    folder, _, codec = exported
    config = json.loads(json.dumps(codec.config.published()))
    oracle = loaders.get_mimi(str(folder / "mimi.safetensors"), mimi_config=config, num_codebooks=8)
    pcm = torch.randn(1, 1, 1920 * 12) * 0.1
    with torch.no_grad():
        codes = oracle.encode(pcm)
        assert (codes == codec.encode(pcm)).all()
        assert torch.allclose(oracle.decode(codes), codec.decode(codes), atol=1e-5)


def test_language_model_logits_agree(exported):
    folder, lm, _ = exported
    config = {k: v for k, v in lm.config.published().items() if k not in RUNTIME_KEYS}
    oracle = loaders.get_moshi_lm(
        str(folder / "model.safetensors"), lm_kwargs=config, device="cpu", dtype=torch.float32
    )
    frames = 14
    codes = torch.randint(0, 16, (1, 17, frames))
    table = torch.tensor([lm.config.text_card] + [lm.config.card] * 16)[:, None].repeat(1, frames + 1)
    for row, delay in enumerate(lm.config.delays):
        table[row, 1 + delay :] = codes[0, row, : frames - delay]
    with torch.no_grad():
        theirs, z = oracle(codes), lm.temporal(table[None, :, :frames])
        hidden = lm.depth(z[0], table[0, 1:], table[1:8, 1:].T)
        assert torch.allclose(lm.text_linear(z)[0], theirs.text_logits[0, 0], atol=1e-4)
        for k, delay in enumerate(lm.config.delays[1:9]):
            mine = lm.linears[k](hidden[:, k])
            assert torch.allclose(mine[delay:], theirs.logits[0, k, : frames - delay], atol=1e-4)
