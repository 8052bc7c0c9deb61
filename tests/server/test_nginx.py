"""`examples/nginx/moshi.conf` in front of two servers, by the nginx of this machine (`apt-get install nginx-light`)."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from needs import missing
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nginx" / "moshi.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def balanced(start, tmp_path):
    """The example with this test's ports: its address and both servers, each with room for two."""
    if NGINX is None:
        missing("nginx", "apt-get install nginx-light")
    options = ("--host", "127.0.0.1", "--no-tls", "--max-sessions", "2")
    backends = [start("--model", "loopback", "--port", "0", *options) for _ in range(2)]
    port = free_port()
    changes = {"8998": backends[0].port, "8999": backends[1].port, "8080": port}
    site = re.sub(r"\b(8998|8999|8080)\b", lambda found: str(changes[found.group()]), EXAMPLE.read_text())
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
        f" http {{ access_log off; {paths} {site} }}"
    )
    process = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/nginx-health", timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield port, backends
    process.terminate()
    process.wait(10)


def sessions(backend) -> int:
    with urllib.request.urlopen(f"{backend.url}/status", timeout=5) as answer:
        return int(json.load(answer)["sessions"])


async def call(port: int) -> ClientConnection:
    socket = await connect(f"ws://127.0.0.1:{port}/api/chat?format=pcm", compression=None)
    assert await asyncio.wait_for(socket.recv(), 10) == bytes(9), "the handshake"
    return socket


def test_calls_go_where_there_is_room_and_a_full_house_says_so(balanced) -> None:
    port, backends = balanced

    async def fill() -> None:
        calls = [await call(port) for _ in range(4)]
        assert [sessions(backend) for backend in backends] == [2, 2]
        with pytest.raises(InvalidStatus) as refused:
            await call(port)
        assert refused.value.response.status_code in (502, 503)
        for open_call in calls:
            await open_call.close()

    asyncio.run(fill())


def test_frames_come_through_one_by_one(balanced) -> None:
    port, _ = balanced

    async def talk() -> None:
        socket = await call(port)
        for _ in range(5):
            await socket.send(b"\x01" + bytes(3_840))
        for _ in range(4):
            while (message := await asyncio.wait_for(socket.recv(), 10))[:1] != b"\x01":
                pass
            assert len(message) == 3_841, "a frame of 80 ms, not several in one"
        await socket.close()

    asyncio.run(talk())


def test_a_server_that_stops_is_passed_over(balanced) -> None:
    port, backends = balanced
    assert backends[0].stop() == 0

    async def talk() -> None:
        calls = [await call(port) for _ in range(2)]
        assert sessions(backends[1]) == 2
        for open_call in calls:
            await open_call.close()

    asyncio.run(talk())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
        assert answer.status == 200
