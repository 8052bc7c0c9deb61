"""One run: callers on a server for a while, and what they and the server's process have to say about it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caller import Caller
from clock import Clock
from report import checks, outcomes, summary
from server import Server
from speech import script

#: Time between the last admission and the first word.
BREATH = 1.0
#: How long a caller waits for its place.
PATIENCE = 30.0


@dataclass
class Wish:
    """What a run is to be."""

    callers: int
    seconds: float
    #: How long each is heard out.
    drain: float = 2
    #: Frames of different callers over the 80 ms, or all at the same instant.
    spread: bool = True
    neighbours: bool = False
    #: Messages of hostile callers; once all are heard, the callers fall silent.
    hostile: int = 0
    #: Of what these say.
    seed: int = 1
    #: Seconds between two looks at the server's process.
    every: float = 10


async def run(server: Server, wish: Wish) -> dict[str, Any]:
    """Has the callers talk, and gives every figure."""
    status = await server.status()
    found: dict[str, Any] = {name: status.get(name) for name in ("model", "version", "capacity")}
    found["cpus"] = os.cpu_count()
    messages = script(wish.seconds)
    callers = [Caller(server.chat, len(messages)) for _ in range(wish.callers)]
    clock, before, process = Clock(), await server.metrics(), Usage(server)
    watching = asyncio.create_task(process.watch(wish.every))
    admitted = [caller for caller in callers if await caller.admit(PATIENCE)]
    own, begin = time.process_time(), time.monotonic()
    raging = asyncio.create_task(storm(server, wish, clock)) if wish.hostile else None
    bad = await beside("neighbours.py", server.chat) if wish.neighbours else None
    with no_collector():
        await clock.run(admitted, messages, time.monotonic() + BREATH, wish.spread)
        await asyncio.sleep(wish.drain)
    for caller in callers:
        caller.frames = clock.said
    if raging:
        found["hostile"] = await raging
    found |= summary(callers, clock)
    found["driver_cpu_percent"] = round(100 * (time.process_time() - own) / (time.monotonic() - begin), 1)
    # Read while the callers are still there: what a full house uses.
    found |= process.summary() | (await server.metrics()).since(before)
    watching.cancel()
    if bad:
        bad.terminate()
        await bad.wait()
    await asyncio.gather(*(caller.hang_up() for caller in admitted))
    found["outcomes"] = outcomes(callers)
    return found | {"checks": checks(found, wish.neighbours), "watched": process.seen}


async def beside(program: str, *asked: str) -> Process:
    """Others, in a process of their own so that they cannot delay those measured."""
    path = str(Path(__file__).with_name(program))
    return await create_subprocess_exec(sys.executable, path, *asked, stdout=PIPE)


async def storm(server: Server, wish: Wish, clock: Clock) -> dict[str, Any]:
    """Hostile callers; those measured talk before and as long, however fast the storm is over."""
    await asyncio.sleep(BREATH + 1.0)
    asked = [server.url.replace("http", "ws", 1), "--messages", str(wish.hostile), "--seed", str(wish.seed)]
    said, _ = await (await beside("storm.py", *asked)).communicate()
    clock.over = True
    told: dict[str, Any] = json.loads(said)
    return told


async def idle(server: Server, seconds: float, every: float) -> dict[str, Any]:
    """Only watches the server's process."""
    process = Usage(server)
    watching = asyncio.create_task(process.watch(min(every, seconds)))
    await asyncio.sleep(seconds + 0.2)
    watching.cancel()
    return process.summary() | {"watched": process.seen}


async def emptied(server: Server) -> None:
    """Waits until nobody is left of the run before."""
    for _ in range(200):
        if (await server.status())["sessions"] == 0:
            return
        await asyncio.sleep(0.1)


@contextmanager
def no_collector() -> Iterator[None]:
    """Without pauses for Python's own sake: nothing that a run makes is a cycle."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Usage:
    """Memory and processor time of the server; nothing where it is not on this machine."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.begin, self.used, self.memory = time.monotonic(), server.cpu_seconds(), server.memory_mib()
        self.seen: list[dict[str, Any]] = []

    async def watch(self, every: float) -> None:
        """Looks now and then."""
        last, used = self.begin, self.used
        while used is not None:
            await asyncio.sleep(every)
            now, memory, spent = time.monotonic(), self.server.memory_mib(), self.server.cpu_seconds()
            if memory is None or spent is None:
                return
            share = 100 * (spent - used) / (now - last)
            calls = (await self.server.status())["sessions"]
            entry = {"at": round(now - self.begin, 3), "memory_mib": round(memory, 2), "cpu_percent": round(share, 2)}
            self.seen.append({**entry, "sessions": calls})
            last, used = now, spent

    def summary(self) -> dict[str, Any]:
        """In short; the growth of memory by a straight line through the second half."""
        memory, used = self.server.memory_mib(), self.server.cpu_seconds()
        if memory is None or used is None or self.memory is None or self.used is None:
            return {}
        half = self.seen[len(self.seen) // 2 :]
        per_hour = slope([(entry["at"], entry["memory_mib"]) for entry in half])
        share = 100 * (used - self.used) / (time.monotonic() - self.begin)
        most = max((entry["cpu_percent"] for entry in self.seen), default=share)
        ends = {"start": round(self.memory, 2), "end": round(memory, 2)}
        return {
            "memory_mib": ends | ({} if per_hour is None else {"per_hour": round(3600 * per_hour, 2)}),
            "server_cpu_percent": {"mean": round(share, 2), "max": round(most, 2)},
        }


def slope(points: list[tuple[float, float]]) -> float | None:
    """Of the straight line that fits best; None through fewer than three points."""
    if len(points) < 3:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else None
