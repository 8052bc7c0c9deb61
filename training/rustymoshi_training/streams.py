"""The joint table of one conversation: text, agent codes, user codes, each delayed as the checkpoint says."""

import numpy as np

AGENT_BOOKS, USER_BOOKS = 8, 8
DELAYS = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
NOTHING = -1


def delayed(streams: np.ndarray, initial: np.ndarray, delays=DELAYS) -> np.ndarray:
    """streams [s, t] -> table [s, t]: column p holds frame p - delay; columns p <= delay hold the initial tokens.

    This is the table a running session sees: its first column is all initial, and frame 0 is never read.
    """
    table = np.repeat(initial[:, None], streams.shape[1], axis=1)
    for row, delay in enumerate(delays):
        table[row, delay + 1 :] = streams[row, 1 : streams.shape[1] - delay]
    return table


def undelayed(table: np.ndarray, delays=DELAYS) -> np.ndarray:
    """Inverse of `delayed` for the frames that are complete: [s, t - max delay], with `NOTHING` for frame 0."""
    whole = table.shape[1] - max(delays)
    out = np.full((table.shape[0], whole), NOTHING, table.dtype)
    for row, delay in enumerate(delays):
        out[row, 1:] = table[row, delay + 1 : delay + whole]
    return out


def targets(table: np.ndarray, initial: np.ndarray, written: int) -> np.ndarray:
    """What each step must write: the next column's text and agent codes [written, t - 1]; `NOTHING` if initial."""
    out = table[:written, 1:].copy()
    out[out == initial[:written, None]] = NOTHING
    return out
