"""Hostile callers, many at once: `python benches/load/storm.py ws://localhost:8998 --messages 1000000`.

A message counts when the server has answered a ping that was sent after it: it has read it and lives. A call goes on
until its plan or the server's patience is over; then it ends in some wrong way, and the server must hang up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

from hostile import PING, Chat, Realtime, frame, goodbye, said

#: Messages between two pings.
BATCH = 16
#: Seconds that the server may take to answer a ping or to hang up.
PATIENCE = 20.0


@dataclass
class Storm:
    """How many messages are to be heard, and what became of them."""

    host: str
    port: int
    seed: int
    wanted: int
    heard: int = 0
    calls: int = 0
    found: Counter[str] = field(default_factory=Counter)

    async def rage(self, at_once: int) -> None:
        """Callers until enough was heard."""
        await asyncio.gather(*(self._callers() for _ in range(at_once)))

    async def _callers(self) -> None:
        while self.heard < self.wanted:
            self.calls += 1
            random = Random(f"{self.seed} {self.calls}")
            try:
                outcome = await self._call(random)
            except OSError as error:
                outcome = f"broken: {type(error).__name__}"
            self.found[outcome] += 1
            if outcome.startswith("refused"):
                await asyncio.sleep(0.05)

    async def _call(self, random: Random) -> str:
        speaker = random.choice([Chat, Chat, Realtime])(random)
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            status = await upgrade(reader, writer, f"{self.host}:{self.port}", random.choice(speaker.paths))
            if status != 101:
                return f"refused: {status}"
            pongs: asyncio.Queue[bytes | None] = asyncio.Queue()
            hearing = asyncio.create_task(hear(reader, pongs))
            try:
                return await self._talk(random, writer, pongs, said(random, speaker))
            finally:
                hearing.cancel()
        finally:
            writer.close()

    async def _talk(
        self,
        random: Random,
        writer: asyncio.StreamWriter,
        pongs: asyncio.Queue[bytes | None],
        messages: Iterator[bytes],
    ) -> str:
        for batch in range(int(random.expovariate(1 / 8)) + 1):
            size = random.randint(1, BATCH)
            mark = b"mark" + struct.pack("<I", batch)
            writer.write(b"".join(next(messages) for _ in range(size)) + frame(PING, mark))
            try:
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
                    while (answer := await pongs.get()) not in (mark, None):
                        pass
            except TimeoutError:
                return "no answer"
            if answer is None:
                return "ended by the server"
            self.heard += size
        if random.random() < 0.2:
            writer.transport.abort()
            return "vanished"
        writer.write(goodbye(random))
        if writer.can_write_eof():
            writer.write_eof()
        try:
            async with asyncio.timeout(PATIENCE):
                while await pongs.get() is not None:
                    pass
        except TimeoutError:
            return "never hung up"
        return "ended by a goodbye"


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str) -> int:
    """Asks for a WebSocket; gives the status."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
             "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(PATIENCE):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("no answer") from error
    return int(head.split(b" ", 2)[1])


async def hear(reader: asyncio.StreamReader, pongs: asyncio.Queue[bytes | None]) -> None:
    """Reads what the server says and gives on its pongs; None is its end."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            opcode, size = await reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", await reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await reader.readexactly(8))
            payload = await reader.readexactly(size)
            if opcode == 0x88:
                break
            if opcode == 0x8A:
                pongs.put_nowait(payload)
    pongs.put_nowait(None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benches/load/storm.py", description=__doc__)
    parser.add_argument("url", help="the server, as ws://localhost:8998")
    parser.add_argument("--messages", type=int, default=20_000, help="how many it must have read")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=6, help="hostile callers at any time")
    wish = parser.parse_args()
    where = urlsplit(wish.url)
    storm = Storm(where.hostname or "localhost", where.port or 80, wish.seed, wish.messages)
    # On other machines they would not take the honest callers' processor time either.
    os.nice(10)
    begin = time.monotonic()
    asyncio.run(storm.rage(wish.at_once))
    seconds = round(time.monotonic() - begin, 2)
    found = {"messages": storm.heard, "calls": storm.calls, "seconds": seconds, **storm.found}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
