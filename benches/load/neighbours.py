"""Callers one does not wish for: what they do must change nothing for the others.

`python benches/load/neighbours.py ws://localhost:8998/api/chat` puts one of each on a server until it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable

from speech import headers, script
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException


async def idle(url: str, _messages: list[bytes]) -> None:
    """Connects and never says a word."""
    async with connect(url, compression=None) as socket:
        async for _ in socket:
            pass


async def silent(url: str, messages: list[bytes]) -> None:
    """Starts a stream and then only shows that it lives."""
    async with connect(url, compression=None) as socket:
        await socket.send(b"\x01" + headers())
        for _ in messages:
            await socket.send(b"\x06")
            await asyncio.sleep(1)


async def flooding(url: str, messages: list[bytes]) -> None:
    """Sends a whole call as fast as the network takes it, again and again."""
    while True:
        with contextlib.suppress(WebSocketException, OSError):
            async with connect(url, compression=None, max_queue=None) as socket:
                await socket.send(b"\x01" + headers())
                for message in messages:
                    await socket.send(message)
                await socket.wait_closed()
        await asyncio.sleep(0.2)


async def vanished(url: str, messages: list[bytes]) -> None:
    """Talks, then neither reads nor sends nor hangs up."""
    socket = await connect(url, compression=None, ping_interval=None)
    await socket.send(b"\x01" + headers())
    for message in messages[:25]:
        await socket.send(message)
        await asyncio.sleep(0.08)
    socket.transport.pause_reading()
    try:
        await asyncio.sleep(3600)
    finally:
        socket.transport.abort()


BAD: dict[str, Callable[[str, list[bytes]], Awaitable[None]]] = {
    "idle": idle,
    "silent": silent,
    "flooding": flooding,
    "vanished": vanished,
}


async def endure(name: str, url: str, messages: list[bytes]) -> None:
    """One of them; being thrown out is what it deserves."""
    with contextlib.suppress(WebSocketException, OSError):
        await BAD[name](url, messages)


async def all_of_them(url: str) -> None:
    """Each until its end."""
    messages = script(60)
    await asyncio.gather(*(endure(name, url, messages) for name in BAD))


if __name__ == "__main__":
    asyncio.run(all_of_them(sys.argv[1]))
