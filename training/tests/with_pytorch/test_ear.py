"""The head that writes down what the user says."""

import torch
import torch.nn.functional as F
from rustymoshi_training import ear as ears
from rustymoshi_training.ear import Ear, Heard, Said, classification_loss, word_ids

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


def test_loss_and_gradient_are_those_of_all_words():
    torch.manual_seed(1)
    late = torch.randn(2, 30, 16, requires_grad=True)
    # The last line is too short for its words.
    texts, spans = [[5, 9, 5, 5], [7], [11, 12, 13]], [(0, 2, 12), (1, 0, 9), (1, 20, 22)]
    lines = [Heard(w, a, b, Said(words, (1,))) for words, (w, a, b) in zip(texts, spans, strict=True)]
    ear = Ear(16)
    _, ours = ear(late.detach(), late, lines)
    cut = [late[w, a:b] for w, a, b in spans]
    logits = ear.words(ear.norm(torch.nn.utils.rnn.pad_sequence(cut)))
    lengths, counts = torch.tensor([10, 9, 2]), torch.tensor([4, 1, 3])
    targets = torch.tensor([word for words in texts for word in words])
    theirs = F.ctc_loss(logits.log_softmax(-1), targets, lengths, counts, zero_infinity=True)
    torch.testing.assert_close(ours, theirs)
    weights = [late, ear.words.weight, ear.words.bias, ear.norm.weight]
    for one, other in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_line_without_symbols_is_silence():
    log_probs = torch.randn(4, 3).log_softmax(-1)
    loss = classification_loss(log_probs, torch.tensor([4]), [[]])
    torch.testing.assert_close(loss, -log_probs[:, 0].sum())
