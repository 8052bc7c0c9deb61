"""How many threads to use on a machine that others use too."""

import os

import torch


def adapt(step: int, threads: int, every: int = 10) -> None:
    """Every few steps: all `threads` while the machine is quiet, one while it is busy.

    Threads that wait for each other at every operation lose about half their time when one of them is scheduled out.
    """
    if step % every == 0 and hasattr(os, "getloadavg"):
        busy = os.getloadavg()[0] - threads > 0.75 * (os.cpu_count() or 1)
        torch.set_num_threads(1 if busy else threads)
