"""Muon: matrices move in all directions alike, by what AdamW would move them."""

import copy

import pytest
import torch
from rustymoshi.training.optimizers import Muon, Together, orthogonal


@pytest.mark.parametrize("shape", [(16, 80), (80, 16), (32, 32)])
def test_singular_values_are_driven_to_about_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.2 and values.max() < 1.4
    assert torch.linalg.svdvals(torch.randn(shape) / 3).max() > 1.4


def test_a_step_has_the_size_of_its_rate_whatever_the_gradient():
    torch.manual_seed(0)
    for scale in (1e-4, 1e3):
        weight = torch.nn.Parameter(torch.zeros(24, 8, 3))
        weight.grad = torch.randn(24, 8, 3) * scale
        Muon([weight], lr=0.01).step()
        assert weight.square().mean().sqrt().item() == pytest.approx(0.002, rel=0.35)
        assert (weight * weight.grad).sum() < 0


def test_several_optimizers_resume_as_one():
    def made():
        torch.manual_seed(1)
        matrix, vector = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(4))
        return matrix, vector, Together(Muon([matrix], lr=0.1, weight_decay=0.1), torch.optim.AdamW([vector], lr=0.1))

    def train(matrix, vector, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (matrix @ vector).square().sum().backward()
            optimizer.step()

    matrix, vector, optimizer = made()
    train(matrix, vector, optimizer, 3)
    again_matrix, again_vector, again = made()
    again_matrix.data.copy_(matrix.data)
    again_vector.data.copy_(vector.data)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = matrix.detach().clone()
    train(matrix, vector, optimizer, 2)
    train(again_matrix, again_vector, again, 2)
    assert torch.equal(matrix, again_matrix) and torch.equal(vector, again_vector)
    assert not torch.equal(matrix, before) and [group["lr"] for group in again.param_groups] == [0.1, 0.1]


def test_a_state_of_before_is_told():
    vector = torch.nn.Parameter(torch.randn(4))
    with pytest.raises(ValueError, match=r"earlier version.*--start-from"):
        Together(torch.optim.SGD([vector], lr=0.1)).load_state_dict(torch.optim.SGD([vector], lr=0.1).state_dict())
