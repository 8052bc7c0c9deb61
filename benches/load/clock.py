"""The one clock by which all callers speak: a frame of each every 80 ms, never two at once."""

from __future__ import annotations

import asyncio
import time
from array import array
from dataclasses import dataclass, field

from caller import Caller
from speech import FRAME_SECONDS


@dataclass
class Clock:
    """How well the driver itself keeps time. If it does not, the figures are about it and not about the server."""

    #: How late each frame was sent, in seconds.
    lateness: array[float] = field(default_factory=lambda: array("d"))
    #: Times that it was late by more than a frame; it then goes on from there and does not catch up.
    slips: int = 0
    #: Messages of each caller so far.
    said: int = 0
    #: Nobody says anything more.
    over: bool = False

    async def run(self, callers: list[Caller], messages: list[bytes], start: float, spread: bool) -> None:
        """Has every caller say every message, from `start` on; `spread` over the 80 ms, or all at the same instant."""
        step = FRAME_SECONDS / max(1, len(callers)) if spread else 0.0
        for message in messages:
            if self.over:
                return
            self.said += 1
            # A microphone hands a frame over when it is full.
            start += FRAME_SECONDS
            for at, caller in enumerate(callers):
                due = start + at * step
                wait = due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                late = time.monotonic() - due
                self.lateness.append(late)
                if late > FRAME_SECONDS:
                    self.slips += 1
                    start += late
                caller.send(message)
            # With everything due at once there may have been nothing to wait for; replies are read here.
            await asyncio.sleep(0)
