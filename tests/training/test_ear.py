"""The head that writes down what the user says."""

import torch
from rustymoshi.training.ear import Ear, Heard, word_ids


def test_words_are_numbers_whatever_their_case_and_marks():
    assert word_ids("What is it?") == word_ids("what IS it")
    assert all(0 < word < 2_048 for word in word_ids("The capital of France"))


def test_it_learns_to_hear_a_line():
    torch.manual_seed(0)
    ear, hidden = Ear(16), torch.randn(2, 30, 16)
    optimizer = torch.optim.Adam(ear.parameters(), 0.05)
    lines = [Heard(0, 2, 12, word_ids("one two three")), Heard(1, 0, 9, word_ids("four"))]
    first = last = ear(hidden, lines)
    for _ in range(40):
        optimizer.zero_grad()
        last = ear(hidden, lines)
        last.backward()
        optimizer.step()
    assert last < 0.1 * first


def test_nobody_speaking_costs_nothing_and_can_be_followed():
    hidden = torch.randn(1, 5, 16, requires_grad=True)
    loss = Ear(16)(hidden, [])
    loss.backward()
    assert loss.item() == 0 and (hidden.grad == 0).all()
