"""Composed conversations: lines, gaps, answers and pauses in their places."""

import json

import numpy as np
import pytest
from rustymoshi_training import compose, ear
from rustymoshi_training.compose import Composer, Line, _stretch, paced
from rustymoshi_training.tokens import END_OF_PADDING, PADDING

QUIET, VOICE, NOISE, LINE = 7, 50, 9, 80


@pytest.fixture
def composer(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    monkeypatch.setattr(ear, "_phonemes", lambda: str.lower)
    monkeypatch.setattr(compose, "MOST_PACE", 1.0)
    monkeypatch.setattr(compose, "HESITATES", 0.0)
    made = Composer("codec", np.random.default_rng(1))
    codes = np.full((8, 70), NOISE, np.int16)
    codes[:, 5:20] = LINE
    about = dict(question="Hello", answer="Hi there.", topic="hello", family="", member="", frames=70, start=5, end=20)
    np.savez(made.folder / "00000.0.npz", codes=codes)
    (made.folder.parent / "00000.json").write_text(json.dumps([about]))
    streams = np.full((17, 100), QUIET, np.int32)
    streams[0] = PADDING
    streams[0, 37:40] = [END_OF_PADDING, 100, 101]
    streams[1:9, 40:50] = VOICE
    words = [["Hi", 3.21, 3.5], ["there.", 3.6, 3.9]]
    log = [dict(answer="Hi there.", answer_from=3.2, cut=False, topic="hello")]
    made.take_answers(dict(words=words, log=log), streams)
    made.look_for_more()
    return made


def test_an_answer_follows_its_line_and_words_come_before_sound(composer):
    for _ in range(20):
        item = composer.conversation()
        text, agent, user = item.streams[0], item.streams[1], item.streams[9]
        for start, end, said in item.lines:
            assert len(said.words) == 1 and len(said.sounds) == 5
            assert (user[start:end] == LINE).all() and user[end] == NOISE
            begins = end + np.flatnonzero(text[end:] == END_OF_PADDING)[0]
            assert 0 <= begins - end <= 8, "after 0.2 to 0.8 seconds of silence, less the lead"
            assert text[begins + 1 : begins + 3].tolist() == [100, 101]
            assert (agent[begins : begins + 3] == QUIET).all() and agent[begins + 3] == VOICE


def test_a_line_that_breaks_into_an_answer_ends_it(composer, monkeypatch):
    monkeypatch.setattr(compose, "CUT", 10.0)
    monkeypatch.setattr(compose, "LATER", 0.0)
    monkeypatch.setattr(compose, "LONG", 10)
    broken = 0
    for _ in range(40):
        item = composer.conversation()
        text, agent = item.streams[0], item.streams[1]
        for (_, before, _), (start, end, _) in zip(item.lines, item.lines[1:], strict=False):
            assert VOICE in agent[before : start + 4] or 100 in text[before : start + 4]
            assert (agent[start + 3 : end] == QUIET).all() and (text[start + 3 : end] == PADDING).all()
            broken += VOICE in agent[start : start + 3]
        assert VOICE in agent[item.lines[-1][1] :], "nobody breaks into the last answer"
    assert broken > 10


def test_a_line_at_another_pace_is_where_it_says():
    codes = np.full((8, 60), NOISE)
    codes[:, 10:40] = LINE
    rng, lengths = np.random.default_rng(2), set()
    for _ in range(50):
        line = paced(Line(codes, 10, 40, {}), rng)
        lengths.add(line.codes.shape[1])
        spoken = np.flatnonzero(line.codes[0] == LINE)
        assert abs(spoken[0] - line.start) <= 1 and abs(spoken[-1] + 1 - line.end) <= 1
    assert min(lengths) < 55 and 60 in lengths and max(lengths) > 65


def test_somebody_hesitates_within_a_line_and_the_background_goes_on():
    codes = np.full((8, 60), NOISE)
    codes[:, 10:40] = LINE
    rng, lengths = np.random.default_rng(2), set()
    for _ in range(100):
        line = compose.hesitant(Line(codes, 10, 40, {}), rng)
        assert (line.codes == LINE).sum() == 8 * 30 and line.start == 10
        assert (line.codes[:, line.end - 3 : line.end] == LINE).all() and line.codes[0, line.end] == NOISE
        lengths.add(line.end - 40)
    assert lengths == {0, *range(*compose.HESITATION)}


def test_what_is_missing_of_a_background_is_repeated_from_behind_the_line():
    codes = np.arange(10)[None].repeat(8, 0)
    out = _stretch(codes, 25, keep=6)
    assert out.shape == (8, 25)
    assert out[0, :10].tolist() == list(range(10)) and set(out[0, 10:]) == {6, 7, 8, 9}


def test_answers_that_were_cut_short_are_not_used(composer):
    before = {answer: len(parts) for answer, parts in composer.answers.items()}
    log = [dict(answer="Hi there.", answer_from=3.2, cut=True, topic="hello")]
    composer.take_answers(dict(words=[["Hi", 3.21, 3.5]], log=log), np.full((17, 100), QUIET, np.int32))
    assert {answer: len(parts) for answer, parts in composer.answers.items()} == before


def test_the_agent_sometimes_gives_way_later_which_is_not_learned(composer, monkeypatch):
    monkeypatch.setattr(compose, "CUT", 10.0)
    monkeypatch.setattr(compose, "LONG", 5)
    monkeypatch.setattr(compose, "CUT_AT", (0.1, 0.3))
    late = []
    for _ in range(100):
        item = composer.conversation()
        for first, last in item.wrong:
            start = first - compose.GIVES_WAY
            assert start in [line[0] for line in item.lines[1:]]
            assert VOICE not in item.streams[1, last : start + 15]
            late.append(last - first)
    assert 0.5 < np.mean(np.array(late) > 0) < 0.9 and max(late) > 3


def test_what_the_agent_should_not_have_done_is_no_target():
    from rustymoshi_training import lm_data
    from rustymoshi_training.streams import NOTHING, delayed, targets

    streams = np.arange(17 * 40, dtype=np.int32).reshape(17, 40)
    initial = np.full(17, 9_999)
    goal = targets(delayed(streams, initial), initial, 9)
    lm_data.forget(goal, [(10, 13), (20, 20)])
    gone = set(streams[:9, 10:13].flatten().tolist())
    assert gone.isdisjoint(goal.flatten().tolist()) and (goal == NOTHING).sum() == 9 * 3 + 7
    left = set(streams[:9, 2:10].flatten().tolist()) | set(streams[:9, 13:39].flatten().tolist())
    assert left <= set(goal.flatten().tolist())


def test_stories_are_asked_for_more_often_than_they_are_there(composer, monkeypatch):
    monkeypatch.setattr(compose, "STORY", 20)
    long = np.full((9, 30), VOICE)
    composer.answers["Once."] = [long]
    about = composer.plain[0].about | dict(answer="Once.")
    composer.plain = [composer.plain[0]] * 99 + [Line(*list(vars(composer.plain[0]).values())[:3], about)]
    composer.look_for_more()
    asked = [composer._next(None, "")[1] for _ in range(1_000)]
    assert 0.1 < asked.count("Once.") / 1_000 < 0.25


def test_silence_weighs_most_while_somebody_breaks_in(composer, monkeypatch):
    from rustymoshi_training import lm_data
    from rustymoshi_training.lm import LmConfig

    monkeypatch.setattr(lm_data, "tokenizer", lambda: None)
    data = lm_data.Conversations("codec", LmConfig(), seed=3, hide=False)
    streams = np.full((17, 61), PADDING, np.int32)
    streams[0, 10:22] = 100  # the agent speaks when the second line begins, not when the first does
    said = ear.Said([1], (1,))
    data.window = lambda frames: compose.Item(streams, [(2, 8, said), (20, 35, said)])
    *_, weight, _ = data.batch(1, 60, 0.5)
    heavy = np.flatnonzero(weight[0].numpy() == lm_data.GIVING_WAY_WEIGHT)
    listening = weight[0, 2:8].numpy()
    assert (listening == lm_data.LISTENING_WEIGHT).all() and weight[0, 50] == np.float32(lm_data.PADDING_WEIGHT)
    assert heavy.tolist() == list(range(20 + lm_data.GIVES_WAY_AFTER - 1, 35)), "of frame n learns step n - 1"


def test_practice_is_lines_alone_each_where_the_ear_is_told(composer, monkeypatch):
    from rustymoshi_training import lm_data
    from rustymoshi_training.lm import LmConfig

    monkeypatch.setattr(lm_data, "tokenizer", lambda: None)
    monkeypatch.setattr(lm_data, "COMPOSED", 1.0)
    data = lm_data.Conversations("codec", LmConfig(), seed=3, hide=False)
    data.composer = composer
    table, heard = data.practice(size=2, frames=120)
    assert table.shape == (2, 17, 120)
    assert {x.window for x in heard} == {0, 1} and len(heard) >= 2 * 3
    for x in heard:
        # Two frames before the line, and what the ear needs after it.
        user = table[x.window, 9, x.start : x.end]
        assert (user == LINE).sum() == 15 and (user[2:17] == LINE).all()
        assert (table[x.window, 1, 1:] == QUIET).all() and (table[x.window, 0, 1:] == PADDING).all()
