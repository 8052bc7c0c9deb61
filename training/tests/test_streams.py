"""The delayed table is what a running session sees, and nothing is lost by it."""

import numpy as np
from rustymoshi_training.streams import DELAYS, NOTHING, delayed, targets, undelayed

INITIAL = np.array([1000] + [512] * 16)


def streams(frames=12):
    return np.random.default_rng(3).integers(0, 512, (17, frames))


def test_first_columns_hold_initial_tokens_until_each_delay_has_passed():
    table = delayed(streams(), INITIAL)
    assert (table[:, 0] == INITIAL).all()
    late = np.array(DELAYS) == 1
    assert (table[late, 1] == 512).all() and not (table[~late, 1] == INITIAL[~late]).any()


def test_column_p_holds_frame_p_minus_delay():
    s = streams()
    table = delayed(s, INITIAL)
    for row, delay in enumerate(DELAYS):
        assert (table[row, 5] == s[row, 5 - delay]).all()


def test_undelayed_gives_back_every_complete_frame():
    s = streams()
    back = undelayed(delayed(s, INITIAL))
    assert (back[:, 0] == NOTHING).all() and (back[:, 1:] == s[:, 1 : back.shape[1]]).all()


def test_targets_are_the_next_column_and_skip_initial_tokens():
    s = streams()
    table = delayed(s, INITIAL)
    goal = targets(table, INITIAL, 9)
    assert goal.shape == (9, 11)
    assert (goal[0] == s[0, 1:]).all()
    assert (goal[2:, 0] == NOTHING).all() and (goal[2:, 1:] == table[2:9, 2:]).all()
