"""Sessions: seeds, forks, resets, threads."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest
import rustymoshi
from golden_data import Golden

#: The golden checkpoint itself asks for greedy sampling.
SAMPLED = {"temperature": 0.8, "text_temperature": 0.7}


def run(session: rustymoshi.StreamingSession, pcm: np.ndarray) -> tuple[np.ndarray, str]:
    return session.step(pcm)


def test_pieces_of_any_length_give_the_same_answer(moshi: Golden, speech: np.ndarray) -> None:
    whole = run(moshi.model.session(**SAMPLED, seed=3), speech)
    session = moshi.model.session(**SAMPLED, seed=3)
    parts = [session.step(speech[i : i + 1_111]) for i in range(0, len(speech), 1_111)]
    np.testing.assert_array_equal(np.concatenate([pcm for pcm, _ in parts]), whole[0])
    assert "".join(text for _, text in parts) == whole[1]


def test_a_seed_is_one_answer_and_another_seed_another(moshi: Golden, speech: np.ndarray) -> None:
    first, again, other = (run(moshi.model.session(**SAMPLED, seed=s), speech)[0] for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_fork_continues_alike_and_apart(moshi: Golden, speech: np.ndarray) -> None:
    session = moshi.model.session(**SAMPLED, seed=1)
    session.step(speech[: 10 * 1_920 + 5])
    fork = session.fork()
    rest = speech[10 * 1_920 + 5 :]
    np.testing.assert_array_equal(fork.step(rest)[0], session.step(rest)[0])
    fork.step(np.ones(1_920, dtype=np.float32))
    assert not np.array_equal(fork.step(speech[:9_600])[0], session.step(speech[:9_600])[0])


def test_a_reset_session_is_as_new(moshi: Golden, speech: np.ndarray) -> None:
    session = moshi.model.session(**SAMPLED, seed=2)
    first = session.step(speech)[0]
    session.reset()
    np.testing.assert_array_equal(session.step(speech)[0], first)


def test_sessions_on_threads_hear_themselves_only(moshi: Golden, speech: np.ndarray) -> None:
    alone = [run(moshi.model.session(**SAMPLED, seed=s), speech)[0] for s in range(4)]
    together: list[np.ndarray | None] = [None] * 4

    def talk(seed: int) -> None:
        together[seed] = run(moshi.model.session(**SAMPLED, seed=seed), speech)[0]

    threads = [threading.Thread(target=talk, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_interpreter_is_free_while_a_session_computes(moshi: Golden, speech: np.ndarray) -> None:
    session = moshi.model.session()
    done = threading.Event()

    def talk() -> None:
        session.step(np.tile(speech, 3))
        done.set()

    switch = sys.getswitchinterval()
    thread = threading.Thread(target=talk)
    thread.start()
    ticks = 0
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    thread.join()
    assert ticks > 3, "the main thread stood still during the step"
    assert sys.getswitchinterval() == switch


def test_one_session_on_two_threads_is_a_clear_error(moshi: Golden, speech: np.ndarray) -> None:
    session = moshi.model.session()
    started = threading.Event()

    def talk() -> None:
        started.set()
        session.step(np.tile(speech, 4))

    thread = threading.Thread(target=talk)
    thread.start()
    started.wait()
    message = None
    while thread.is_alive() and message is None:
        try:
            session.step(np.zeros(1, dtype=np.float32))
        except rustymoshi.RustymoshiError as error:
            message = str(error)
    thread.join()
    assert message is not None and "another thread" in message


def test_a_session_outlives_its_windows_without_growing(moshi: Golden) -> None:
    import resource

    session = moshi.model.session(**SAMPLED, seed=4)
    frame = np.zeros(1_920, dtype=np.float32)
    for _ in range(50):
        session.step(frame)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(400):  # ten temporal windows, eighty codec windows
        pcm, _text = session.step(frame)
        assert np.isfinite(pcm).all()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4_096, f"{grown} KiB more after 400 frames"


@pytest.mark.parametrize("name", ["temperature", "text_temperature", "top_p"])
def test_parameters_out_of_range_are_named(moshi: Golden, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        moshi.model.session(**{name: -1.0})
