"""Replicas follow the number of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from caller import Caller


@pytest.fixture(scope="module")
def url(deploy: Callable[..., str]) -> str:
    # One call on each replica is what is aimed at.
    return deploy(sessions=2, target_load=0.5, min_replicas=1, max_replicas=2, downscale_delay_s=3)


def replicas() -> int:
    """How many run."""
    from ray import serve

    states = serve.status().applications["moshi"].deployments["Engine"].replica_states
    return sum(count for state, count in states.items() if str(getattr(state, "value", state)) == "RUNNING")


def test_another_replica_starts_when_calls_come_and_goes_when_they_end(url: str) -> None:
    async def call() -> list[int]:
        seen = [replicas()]
        callers = [Caller(url.replace("http", "ws") + "/api/chat", 1) for _ in range(2)]
        for caller in callers:
            assert await caller.admit(20), caller.outcome
        end = time.monotonic() + 90
        while replicas() < 2 and time.monotonic() < end:
            for caller in callers:
                # They are alive: without a word for half a minute they would be sent away.
                caller.send(b"\x06")
            await asyncio.sleep(1)
        seen.append(replicas())
        await asyncio.gather(*(caller.hang_up() for caller in callers))
        end = time.monotonic() + 90
        while replicas() > 1 and time.monotonic() < end:
            await asyncio.sleep(1)
        return [*seen, replicas()]

    assert asyncio.run(call()) == [1, 2, 1]
