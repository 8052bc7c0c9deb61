"""The program itself when its engine is stuck: it says so, and ends with a code that has it started again."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import websockets
from needs import missing
from websockets.exceptions import ConnectionClosed

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
#: Of waitpid: threads of other processes too.
WALL = 0x40000000
STUCK = 70


@contextmanager
def held(process: int, thread: str) -> Iterator[None]:
    """Holds one thread of a child, by its name, until the process ends: to everything else it looks as a thread in a
    device's driver that never returns. Only a tracer can stop a thread and not its process."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long
    tasks = Path(f"/proc/{process}/task")
    (task,) = (int(entry.name) for entry in tasks.iterdir() if (entry / "comm").read_text().strip() == thread)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, task, 0, 0) != 0:
            what = f"leave to trace a child ({os.strerror(ctypes.get_errno())})"
            missing(what, "ptrace is allowed by `docker run --cap-add SYS_PTRACE`")
    os.waitpid(task, WALL)
    assert (tasks / str(task) / "stat").read_text().rsplit(")", 1)[1].split()[0] == "t", "it is held"
    try:
        yield
    finally:
        # The process cannot be waited for before its tracer has seen the thread end.
        end = time.monotonic() + 20
        while (seen := os.waitpid(task, WALL | os.WNOHANG)) == (0, 0) or os.WIFSTOPPED(seen[1]):
            if time.monotonic() > end:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are held by Linux's ptrace")
def test_a_stuck_engine_ends_the_program_with_its_own_code(start, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    wish = {"watchdog_s": 2, "port": 0, "max_sessions": 2, "record_dir": str(tmp_path / "calls")}
    config.write_text(json.dumps(wish))
    backend = start("--config", str(config), "--model", "loopback")
    frame = b"\x01" + bytes(3_840)

    async def call() -> tuple[ConnectionClosed, list[bytes]]:
        heard: list[bytes] = []
        async with websockets.connect(backend.chat + "?format=pcm") as socket:
            await socket.send(frame)
            await socket.send(frame)
            while not any(message[:1] == b"\x01" for message in heard):
                heard.append(await asyncio.wait_for(socket.recv(), 10))
            with held(backend.process.pid, "engine"):
                await socket.send(frame)
                try:
                    while True:
                        heard.append(await asyncio.wait_for(socket.recv(), 20))
                except ConnectionClosed as closed:
                    return closed, heard
        raise AssertionError("the call went on")

    closed, heard = asyncio.run(call())
    assert closed.rcvd is not None and closed.rcvd.code == 1011
    assert any(message[:1] == b"\x05" and b"no progress" in message for message in heard), "it is told why"
    assert backend.process.wait(timeout=20) == STUCK
    assert any("no progress" in line for line in backend.errors), backend.errors
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(backend.url + "/health/live", timeout=5)
    (recording,) = (tmp_path / "calls").glob("*.wav")
    assert recording.stat().st_size == 44 + 4 * 3 * 1_920, "what was said is on disk, the last frame too"
