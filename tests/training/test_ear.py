"""The head that writes down what the user says."""

import torch
from rustymoshi.training import ear as ears
from rustymoshi.training.ear import Ear, Heard, Said, word_ids

SOUNDS = {"one two three": (3, 1, 4, 1, 5, 9), "four": (2, 6, 5)}


def said(text: str) -> Said:
    """A line's words and some sounds."""
    return Said(word_ids(text), SOUNDS[text])


def test_words_are_numbers_whatever_their_case_and_marks():
    assert word_ids("What is it?") == word_ids("what IS it")
    assert all(0 < word < 2_048 for word in word_ids("The capital of France"))


def test_sounds_are_those_of_the_synthesizer_without_stress_and_marks():
    one, other = ears.sound_ids("What is it?"), ears.sound_ids("What is, it!")
    assert one == other and len(one) > 5
    assert all(0 < sound <= len(ears.SOUNDS) for sound in one)


def test_it_learns_to_hear_a_line():
    torch.manual_seed(0)
    ear, early, late = Ear(16), torch.randn(2, 30, 16), torch.randn(2, 30, 16)
    optimizer = torch.optim.Adam(ear.parameters(), 0.05)
    lines = [Heard(0, 2, 12, said("one two three")), Heard(1, 0, 9, said("four"))]
    first = last = ear(early, late, lines)
    for _ in range(60):
        optimizer.zero_grad()
        last = ear(early, late, lines)
        sum(last).backward()
        optimizer.step()
    assert all(after < 0.1 * before for before, after in zip(first, last, strict=True))


def test_nobody_speaking_costs_nothing_and_can_be_followed():
    early, late = (torch.randn(1, 5, 16, requires_grad=True) for _ in range(2))
    losses = Ear(16)(early, late, [])
    sum(losses).backward()
    assert all(loss.item() == 0 for loss in losses) and (early.grad == 0).all() and (late.grad == 0).all()
