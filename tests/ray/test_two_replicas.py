"""The Ray Serve application with two replicas on this machine, under load.

Runs only where `rustymoshi[ray]` is installed: `pip install 'rustymoshi[ray]' pytest websockets`, then
`pytest tests/ray`. MOSHI_BACKEND names the server's binary (default: target/release/moshi-backend).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="pip install 'rustymoshi[ray]' to test it")
from ray import serve  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches" / "load"))
from caller import Caller  # noqa: E402
from speech import script  # noqa: E402

SESSIONS = 3
SECONDS = 10


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    from rustymoshi.ray import Options, app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = os.environ.get("MOSHI_BACKEND", str(ROOT / "target" / "release" / "moshi-backend"))
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    wish = Options(binary=binary, model="loopback", sessions=SESSIONS, min_replicas=2, max_replicas=2, drain_s=1)
    serve.run(app(wish), name="moshi")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error} {error.read()!r}") from None


def test_the_page_and_health_come_through(url: str) -> None:
    assert b"Moshi" in get(f"{url}/")[1]
    assert get(f"{url}/health/ready")[0] == 200
    assert json.loads(get(f"{url}/status")[1])["capacity"] == SESSIONS


def test_calls_spread_over_both_replicas_and_each_stays_where_it_began(url: str) -> None:
    async def talk() -> tuple[list[Caller], dict[int, set[int]]]:
        messages = script(SECONDS)
        callers = [Caller(url.replace("http", "ws") + "/api/chat", messages) for _ in range(2 * SESSIONS)]
        for caller in callers:
            assert await caller.admit(20), caller.outcome
        loop = asyncio.get_running_loop()
        seen: dict[int, set[int]] = {}

        async def look() -> None:
            for _ in range(20):
                found = json.loads((await asyncio.to_thread(get, f"{url}/status"))[1])
                # Replicas are told apart by when they began.
                began = round(loop.time()) - found["uptime_s"]
                seen.setdefault(began, set()).add(found["sessions"])
                await asyncio.sleep(0.3)

        start = loop.time() + 1
        await asyncio.gather(look(), *(caller.run(start, 2) for caller in callers))
        return callers, seen

    callers, seen = asyncio.run(talk())
    assert [caller.outcome for caller in callers] == ["finished"] * len(callers)
    for caller in callers:
        assert len(caller.replies) >= caller.expected, "every frame was answered"
        ends = [round(end / 0.08) for _, end in caller.replies]
        assert ends == list(range(1, len(ends) + 1)), "one stream from one replica, without a gap"
    full = {sessions for counts in seen.values() for sessions in counts}
    assert full <= {SESSIONS}, f"every replica that answered had its share: {seen}"


def test_a_call_too_many_is_told_to_come_back(url: str) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def fill() -> int:
        target = url.replace("http", "ws") + "/api/chat"
        callers = [Caller(target, script(1)) for _ in range(2 * SESSIONS)]
        for caller in callers:
            assert await caller.admit(20), caller.outcome
        async with connect(target, compression=None) as extra:
            try:
                await asyncio.wait_for(extra.recv(), 10)
            except ConnectionClosed as end:
                return end.rcvd.code if end.rcvd else 0
            finally:
                for caller in callers:
                    assert caller.socket is not None
                    await caller.socket.close()
        return 0

    assert asyncio.run(fill()) == 1013
