"""Another codec's codes: a model that sees the same sound in them sees what it saw before."""

import numpy as np
import pytest
import torch
from rustymoshi_training import recode
from rustymoshi_training.lm import Lm, LmConfig

CARD = 16
CONFIG = LmConfig(
    dim=32, heads=2, layers=4, hidden_scale=2.0, text_card=20, card=CARD, depth_dim=16, depth_heads=2, depth_layers=1,
    depth_feedforward=24,
)  # fmt: skip


@pytest.fixture
def codes():
    """Two codecs that call the same things by other numbers."""
    rng = np.random.default_rng(0)
    old = rng.integers(0, CARD, (8, 3_000))
    names = np.stack([rng.permutation(CARD) for _ in range(8)])
    return old, np.take_along_axis(names, old, 1), names


def test_renamed_codes_get_the_rows_of_their_old_names(codes):
    old, new, names = codes
    tables = [torch.randn(CARD + 1, 8) for _ in range(8)]
    fitted = recode.refit(tables, old, new, CARD)
    sums = [
        sum(t[torch.from_numpy(c)] for t, c in zip(x, codes, strict=True))
        for x, codes in ((tables, old), (fitted, new))
    ]
    assert (sums[0] - sums[1]).abs().max() < 0.3
    assert all(torch.equal(a[CARD], b[CARD]) for a, b in zip(tables, fitted, strict=True)), "the initial token's"
    alone = recode.refit(tables[:1], old[:1], new[:1], CARD)[0]
    assert (alone[torch.from_numpy(names[0])] - tables[0][:CARD]).abs().max() < 0.2


def test_a_code_that_does_not_occur_gets_the_mean_row(codes):
    old, new, _ = codes
    table = torch.randn(CARD + 1, 8)
    seen = new[:1] != 5
    fitted = recode.refit([table], old[:1][seen][None], new[:1][seen][None], CARD)[0]
    assert torch.allclose(fitted[5], table[:CARD].mean(0), atol=1e-5)


def test_a_model_goes_on_as_if_nothing_had_changed(codes):
    old, new, _ = codes
    torch.manual_seed(0)
    lm = Lm(CONFIG).eval()
    before = seen(lm, old)
    same, kept = recode.recode(lm, {"user": (old, new), "agent": (old, new)}, CARD)
    assert min(kept.values()) > 0.99
    assert alike(before, seen(same.eval(), new)) > 0.98


def test_a_model_takes_up_larger_codebooks(codes):
    old, _, _ = codes
    torch.manual_seed(0)
    lm = Lm(CONFIG).eval()
    finer = old + CARD * np.random.default_rng(1).integers(0, 2, old.shape)
    larger, kept = recode.recode(lm, {"user": (old, finer), "agent": (old, finer)}, 2 * CARD)
    assert larger.config.card == 2 * CARD and larger.linears[0].weight.shape[0] == 2 * CARD
    assert min(kept.values()) > 0.98
    assert alike(seen(lm, old), seen(larger.eval(), finer)) > 0.97


def test_a_last_codebook_that_means_something_else_is_forgotten_and_no_other(codes):
    old, _, _ = codes
    torch.manual_seed(0)
    lm = Lm(CONFIG).eval()
    for table in (lm.emb[7], lm.emb[15]):
        torch.nn.init.normal_(table.weight, std=0.01)
    before, begun = seen(lm, old), {k: v.clone() for k, v in lm.state_dict().items()}
    other = old.copy()
    other[7] = np.random.default_rng(2).integers(0, CARD, old.shape[1])
    assert recode.forget_last(lm) is lm
    assert torch.equal(seen(lm, old), seen(lm, other)) and alike(before, seen(lm, old)) > 0.98
    moved = {k for k, v in lm.state_dict().items() if not torch.equal(v, begun[k])}
    assert moved == {"emb.7.weight", "emb.15.weight", "linears.7.weight"}
    assert all(torch.equal(lm.emb[k].weight[CARD], begun[f"emb.{k}.weight"][CARD]) for k in (7, 15)), (
        "the initial token's"
    )


def alike(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def seen(lm: Lm, codes: np.ndarray) -> torch.Tensor:
    """Hidden states of a table in which both voices say the same."""
    columns = recode.columns(codes)[:, :40]
    text = np.full((1, columns.shape[1]), 3)
    table = torch.from_numpy(np.concatenate([text, columns, columns]).astype(np.int64))[None]
    with torch.no_grad():
        return lm.temporal(table)


def test_a_column_has_a_semantic_code_beside_the_others_of_the_frame_before():
    frames = np.tile(np.arange(5), (8, 1))
    columns = recode.columns(frames)
    assert columns[0].tolist() == [1, 2, 3, 4] and columns[1:].tolist() == [[0, 1, 2, 3]] * 7


def test_codecs_without_common_shards_are_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="encode --most"):
        recode.pairs("old", "new")
