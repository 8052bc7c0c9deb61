"""Training on a machine that others use too: how many threads, and what counts as a minute of training."""

import os
import time

import torch


def adapt(step: int, threads: int, every: int = 10) -> None:
    """Every few steps: all `threads` while the machine is quiet, one while it is busy.

    Threads that wait for each other at every operation lose about half their time when one of them is scheduled out.
    RUSTYMOSHI_ALL_THREADS keeps all of them, for a training that comes before whatever else runs.
    """
    if "RUSTYMOSHI_ALL_THREADS" in os.environ:
        return
    if step % every == 0 and hasattr(os, "getloadavg"):
        busy = os.getloadavg()[0] - threads > 0.75 * (os.cpu_count() or 1)
        torch.set_num_threads(1 if busy else threads)


class Stopwatch:
    """Seconds of training: on a GPU the time that passed; on a CPU the processor time that was really had, divided by
    `threads`, so that a run which others starve does not use up its schedule."""

    def __init__(self, device: str, threads: int):
        self.device, self.threads = device, threads
        self.last = self._now()

    def _now(self) -> float:
        return time.process_time() / self.threads if self.device == "cpu" else time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        last, self.last = self.last, self._now()
        return self.last - last
