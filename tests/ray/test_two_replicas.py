"""The Ray Serve application with two replicas on this machine, under load."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from caller import Caller
from clock import Clock
from speech import script
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SESSIONS = 3
SECONDS = 10


@pytest.fixture(scope="module")
def url(deploy: Callable[..., str]) -> str:
    return deploy(sessions=SESSIONS, min_replicas=2, max_replicas=2, allow_origin="https://friend.example")


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error} {error.read()!r}") from None


async def house(url: str, frames: int) -> list[Caller]:
    """As many admitted callers as there are places."""
    callers = [Caller(url.replace("http", "ws") + "/api/chat", frames) for _ in range(2 * SESSIONS)]
    for caller in callers:
        assert await caller.admit(20), caller.outcome
    return callers


def test_the_page_and_health_come_through(url: str) -> None:
    assert b"Moshi" in get(f"{url}/")[1]
    assert get(f"{url}/health/ready")[0] == 200
    assert json.loads(get(f"{url}/status")[1])["capacity"] == SESSIONS


def test_calls_spread_over_both_replicas_and_each_stays_where_it_began(url: str) -> None:
    async def talk() -> tuple[list[Caller], dict[int, set[int]]]:
        messages = script(SECONDS)
        callers = await house(url, len(messages))
        seen: dict[int, set[int]] = {}

        async def look() -> None:
            for _ in range(20):
                found = json.loads((await asyncio.to_thread(get, f"{url}/status"))[1])
                # Replicas are told apart by when they began.
                began = round(time.monotonic()) - found["uptime_s"]
                seen.setdefault(began, set()).add(found["sessions"])
                await asyncio.sleep(0.3)

        await asyncio.gather(look(), Clock().run(callers, messages, time.monotonic() + 1, spread=True))
        await asyncio.sleep(2)
        await asyncio.gather(*(caller.hang_up() for caller in callers))
        return callers, seen

    callers, seen = asyncio.run(talk())
    assert [caller.outcome for caller in callers] == ["finished"] * len(callers)
    for caller in callers:
        assert len(caller.answers) >= caller.expected, "every frame was answered"
        assert list(caller.answers) == list(range(len(caller.answers))), "one stream from one replica, without a gap"
    full = {sessions for counts in seen.values() for sessions in counts}
    assert full <= {SESSIONS}, f"every replica that answered had its share: {seen}"


def test_a_call_too_many_is_told_to_come_back(url: str) -> None:
    async def fill() -> int:
        callers = await house(url, 1)
        async with connect(url.replace("http", "ws") + "/api/chat", compression=None) as extra:
            try:
                await asyncio.wait_for(extra.recv(), 10)
            except ConnectionClosed as end:
                return end.rcvd.code if end.rcvd else 0
            finally:
                await asyncio.gather(*(caller.hang_up() for caller in callers))
        return 0

    assert asyncio.run(fill()) == 1013


async def greeting(url: str, path: str, **options: Any) -> bytes | int:
    """The first message of a call, or the code with which it was closed."""
    async with connect(url.replace("http", "ws") + path, compression=None, **options) as call:
        try:
            return bytes(await asyncio.wait_for(call.recv(), 10))
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 0


STRANGERS = ["https://evil.example", "http://localhost.evil.example", "https://friend.example.evil.example", "null"]


@pytest.mark.parametrize("path", ["/api/chat", "/v1/realtime"])
@pytest.mark.parametrize("origin", STRANGERS)
def test_a_strange_page_may_not_call(url: str, origin: str, path: str) -> None:
    assert asyncio.run(greeting(url, path, origin=origin)) == 1008


def test_pages_of_this_server_and_named_ones_may_call_and_so_may_programs(url: str) -> None:
    for origin in (url, "https://friend.example", None):
        assert asyncio.run(greeting(url, "/api/chat", origin=origin)) == bytes(9), origin
