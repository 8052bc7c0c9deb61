"""How many callers a machine holds: doubling, then halving the interval, in short trials of fresh callers."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from report import misfits
from run import Wish, emptied, run
from server import Server

#: A full house takes one of so many away before it is tried again.
STEP_DOWN = 16


@dataclass
class Search:
    """A search on one server. A number that fails is tried twice: one hiccup of the machine decides nothing."""

    server: Server
    #: What a trial is, whatever the number of callers.
    trial: Wish
    #: No more than these are tried.
    most: int
    trials: list[dict[str, Any]] = field(default_factory=list)

    async def limit(self) -> int:
        """The largest number of callers that fits; 0 if not even one does."""
        return await largest(self.fits, self.most)

    async def fits(self, callers: int) -> bool:
        """Whether so many get what they need."""
        return await self.once(callers) or await self.once(callers)

    async def once(self, callers: int) -> bool:
        """One trial."""
        found = await run(self.server, replace(self.trial, callers=callers))
        await emptied(self.server)
        self.trials.append({"misfits": misfits(found)} | found)
        say(found)
        return not misfits(found)

    async def held(self, limit: int, seconds: float) -> tuple[int, list[dict[str, Any]]]:
        """The largest number up to `limit` that fits for so long, and every run on the way there."""
        runs = []
        while limit > 0:
            found = await run(self.server, replace(self.trial, callers=limit, seconds=seconds))
            await emptied(self.server)
            runs.append({"misfits": misfits(found)} | found)
            say(found)
            if not misfits(found):
                break
            limit -= max(1, limit // STEP_DOWN)
        return limit, runs

    def bound_by(self, limit: int, runs: list[dict[str, Any]]) -> str:
        """What kept the number from being larger: the smallest that failed, in a trial or in a long run, tells."""
        failed = [run for run in self.trials + runs if run["callers"] > limit and run["misfits"]]
        if not failed:
            return f"--most {self.most}"
        nearest = min(run["callers"] for run in failed)
        bad = [run["driver_bound"] for run in failed if run["callers"] == nearest]
        return "driver" if all(bad) else "server"


async def largest(fits: Callable[[int], Awaitable[bool]], most: int) -> int:
    """The largest number from 1 to `most` that fits, if those below a fit fit too; 0 if none does."""
    good, bad, next_one = 0, most + 1, 1
    while good + 1 < bad:
        if await fits(next_one):
            good = next_one
        else:
            bad = next_one
        next_one = min(2 * good, most) if bad > most else (good + bad) // 2
    return good


def say(found: dict[str, Any]) -> None:
    """A line on a trial, for who waits."""
    bad = [f"{name} {found['checks'][name]['found']}" for name in misfits(found)]
    late = found["send_lateness_ms"]["p99"]
    verdict = f"too many: {', '.join(bad)}" if bad else "fits"
    print(
        f"{found['callers']:4} callers for {found['seconds']} s: {verdict}; tick p99 {found['tick_ms']['p99']} ms, "
        f"lag p99 {found['lag_ms']['p99']} ms, driver late p99 {late} ms{' (DRIVER BOUND)' * found['driver_bound']}",
        file=sys.stderr,
        flush=True,
    )
