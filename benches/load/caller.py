"""One paced caller: sends a frame every 80 ms whatever comes back, and notes when what came back."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from dataclasses import dataclass, field

from speech import FRAME_SECONDS, headers, reply_seconds
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

#: The wait before a player starts: what it can hide of the jitter.
PLAYER_SECONDS = 0.04


@dataclass
class Caller:
    """What happened to one caller. Times are `time.monotonic()` seconds."""

    url: str
    messages: list[bytes]
    #: Offset of this caller's clock within a frame.
    phase: float = 0.0
    outcome: str = "not admitted"
    sent_at: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    #: Arrival and end of the audio, in seconds of the server's stream.
    replies: list[tuple[float, float]] = field(default_factory=list)
    slipped: int = 0
    socket: ClientConnection | None = None

    async def admit(self, timeout: float) -> bool:
        """Connects and waits for the handshake."""
        try:
            async with asyncio.timeout(timeout):
                # The server's pings are answered; compression would cost and the server has none.
                self.socket = await connect(self.url, compression=None, ping_interval=None, max_queue=None)
                while (await self.socket.recv())[:1] != b"\x00":
                    pass
        except InvalidStatus as error:
            self.outcome = f"refused: {error.response.status_code} {error.response.body.decode()[:120]}"
        except (OSError, TimeoutError, ConnectionClosed) as error:
            self.outcome = f"failed: {error!r}"
        else:
            self.outcome = "admitted"
            return True
        return False

    async def run(self, start: float, drain: float) -> None:
        """Speaks from `start` on, and hears until `drain` seconds after the last word."""
        assert self.socket is not None
        listening = asyncio.create_task(self._listen())
        try:
            await self.socket.send(b"\x01" + headers())
            await self._speak(start + self.phase)
            await asyncio.sleep(drain)
            self.outcome = "finished"
        except ConnectionClosed as error:
            self.outcome = f"cut off: {error}"
        finally:
            listening.cancel()
            await self.socket.close()

    async def _speak(self, start: float) -> None:
        assert self.socket is not None
        due = start
        while len(self.sent_at) < len(self.messages):
            message = self.messages[len(self.sent_at)]
            # A microphone hands a frame over when it is full, and never two at once.
            due += FRAME_SECONDS
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            now = time.monotonic()
            self.lateness.append(now - due)
            if now - due > FRAME_SECONDS:
                self.slipped += 1
                due = now
            self.sent_at.append(now)
            await self.socket.send(message)

    def finish(self) -> None:
        """Falls silent before it has said everything."""
        self.messages = self.messages[: len(self.sent_at) + 1]

    async def _listen(self) -> None:
        assert self.socket is not None
        try:
            async for message in self.socket:
                now = time.monotonic()
                if isinstance(message, bytes) and message[:1] == b"\x01":
                    end = reply_seconds(message[1:])
                    if end is not None:
                        self.replies.append((now, end))
        except ConnectionClosed:
            pass

    @property
    def expected(self) -> int:
        """Frames that should come back: all but the last, since the model answers a frame when it hears the next."""
        return len(self.messages) - 1

    def lags(self) -> list[float]:
        """From sending the last of a span of audio to the arrival of the reply to that span."""
        found = []
        for arrived, end in self.replies:
            frame = round(end / FRAME_SECONDS) - 1
            if 0 <= frame < len(self.sent_at):
                found.append(arrived - self.sent_at[frame])
        return found

    def intervals(self) -> list[float]:
        """Between one reply and the next."""
        return [b[0] - a[0] for a, b in zip(self.replies, self.replies[1:], strict=False)]

    def underruns(self, margin: float = PLAYER_SECONDS) -> int:
        """How often a player that starts `margin` after its first frame runs dry."""
        count, until = 0, None
        for arrived, _ in self.replies:
            if until is None or arrived > until:
                count += until is not None
                until = arrived + margin
            until += FRAME_SECONDS
        return count

    def first_audio(self) -> float | None:
        """From the first frame sent to the first reply."""
        return self.replies[0][0] - self.sent_at[0] if self.replies and self.sent_at else None

    def real_time_factor(self) -> float:
        """Seconds of reply for each second of talk; 1 keeps up."""
        return len(self.replies) / self.expected if self.expected else 0.0


def percentile(values: list[float], part: float) -> float | None:
    """The value that `part` of all do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def within(values: list[float], limit: float) -> float:
    """The share of values up to a limit."""
    return bisect_right(sorted(values), limit) / len(values) if values else 0.0
