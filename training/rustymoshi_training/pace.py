"""Training on a machine that others use too: how many threads, and what counts as a minute of training."""

import ctypes
import os
import sys
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


def keep_memory() -> None:
    """Let the C library keep what is freed, as every step needs the same memory again: handed back and mapped anew,
    its pages are cleared each time, a fifth of a language model's step. Elsewhere than with glibc: nothing."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        for name, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 256 << 20)):
            mallopt(name, value)


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
