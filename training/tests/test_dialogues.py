"""Scripts are seeded, cover everything that is promised, and refer back sensibly."""

import numpy as np
from rustymoshi_training.dialogues import answer_gap, script
from rustymoshi_training.questions import FIRST, Bank, sentence


def test_there_are_at_least_150_topics_each_asked_in_three_ways():
    bank = Bank()
    assert len(bank.topics) + len(bank.families) >= 150
    assert all(len(asked) >= 3 and answers for _, asked, answers in bank.topics)


def test_no_two_topics_are_asked_with_the_same_words():
    asked = [q for _, ways, _ in Bank().topics for q in ways]
    assert len(asked) == len(set(asked)), sorted(q for q in asked if asked.count(q) > 1)


def test_a_seed_gives_the_same_script():
    bank = Bank()
    assert script(bank, np.random.default_rng(5)) == script(bank, np.random.default_rng(5))


def test_a_script_that_is_given_its_beginning_says_all_of_it():
    bank = Bank()
    story = bank.exact("story", np.random.default_rng(1))
    turns = [script(bank, np.random.default_rng(seed), story)[0] for seed in range(50)]
    assert all(turn.exchange == story and turn.cut is None for turn in turns)


def test_follow_ups_stay_in_their_family():
    bank, rng = Bank(), np.random.default_rng(1)
    first = next(e for e in bank.everything() if e.family == "capital")
    assert bank.follow_up(first, rng).family == "capital"


def test_sums_are_right():
    assert any(
        e.question.startswith("What is seven plus eight") and e.answer == "Seven plus eight is fifteen."
        for e in Bank().everything()
    )


def test_answers_begin_after_people_like_gaps():
    rng = np.random.default_rng(2)
    gaps = [answer_gap(rng) for _ in range(500)]
    assert min(gaps) >= 0.2 and max(gaps) <= 0.8 and 0.3 <= float(np.median(gaps)) <= 0.5


def test_sentences_get_a_capital_and_an_end_mark():
    assert (
        sentence("what is the capital of Italy") == "What is the capital of Italy?"
        and sentence("i am sad") == "I am sad."
    )


def test_any_exchange_is_as_likely_as_any_other():
    bank, rng = Bank(), np.random.default_rng(4)
    drawn = [bank.any(rng) for _ in range(4_000)]
    answers = {exchange.answer for exchange in bank.everything()}
    assert len({exchange.answer for exchange in drawn}) > 0.95 * len(answers)
    sums = sum(exchange.family == "sum" for exchange in drawn) / len(drawn)
    assert abs(sums - len(bank.families["sum"]) / len(bank.everything())) < 0.03


def test_conversations_begin_with_known_topics():
    bank, rng = Bank(), np.random.default_rng(5)
    assert {bank.first(rng).topic for _ in range(500)} == set(FIRST)
