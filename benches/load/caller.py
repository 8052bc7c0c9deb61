"""One caller: it is told when to send, and notes when what came back. Cheap: hundreds fit on a part of a core."""

from __future__ import annotations

import asyncio
import time
from array import array
from dataclasses import dataclass, field

from picows import WSCloseCode, WSError, WSFrame, WSInvalidStatusError, WSListener, WSMsgType, WSTransport, ws_connect
from speech import FRAME_SECONDS, headers, reply_frame

#: What a player holds in reserve when it starts, in seconds: 80 ms is what published clients have and what the server's
#: own counter assumes; 40 ms is strict.
RESERVES = (0.08, 0.04)


class Ear(WSListener):  # type: ignore[misc]
    """Hears one caller's messages."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.greeted = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = time.monotonic()
        if frame.msg_type == WSMsgType.BINARY:
            payload = frame.get_payload_as_bytes()
            if payload[:1] == b"\x01":
                number = reply_frame(payload)
                if number is not None:
                    self.caller.arrived.append(now)
                    self.caller.answers.append(number)
            elif payload[:1] == b"\x00" and not self.greeted.done():
                self.greeted.set_result(None)
        elif frame.msg_type == WSMsgType.CLOSE:
            self.caller.closed(frame.get_close_code(), frame.get_close_message() or "")
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.caller.closed(None, "the connection broke")
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionError(self.caller.outcome))


@dataclass
class Caller:
    """What happened to one caller. Times are `time.monotonic()` seconds."""

    url: str
    #: Frames that it is going to send.
    frames: int
    outcome: str = "not admitted"
    sent_at: array[float] = field(default_factory=lambda: array("d"))
    #: Arrival of each reply, and the number of the frame that it answers.
    arrived: array[float] = field(default_factory=lambda: array("d"))
    answers: array[int] = field(default_factory=lambda: array("l"))
    socket: WSTransport | None = None

    async def admit(self, timeout: float) -> bool:
        """Connects, waits for the handshake, and opens its stream."""
        try:
            async with asyncio.timeout(timeout):
                self.socket, ear = await ws_connect(lambda: Ear(self), self.url, websocket_handshake_timeout=timeout)
                self.outcome = "admitted"
                await ear.greeted
        except WSInvalidStatusError as error:
            body = (error.response.body or error.raw_body or b"").decode(errors="replace")
            self.outcome = f"refused: {int(error.response.status)} {body[:120]}"
            return False
        except (OSError, TimeoutError, WSError) as error:
            self.outcome = f"failed: {error!r}"
            return False
        self.socket.send(WSMsgType.BINARY, b"\x01" + headers())
        return True

    def send(self, message: bytes) -> None:
        """Says something now; never waits."""
        assert self.socket is not None
        self.sent_at.append(time.monotonic())
        if not self.socket.is_disconnected:
            self.socket.send(WSMsgType.BINARY, message)

    def closed(self, code: int | None, why: str) -> None:
        """The other side has ended the call; the first reason counts."""
        if self.outcome == "admitted":
            self.outcome = f"cut off: {code} {why}"

    async def hang_up(self) -> None:
        """Ends the call."""
        if self.outcome == "admitted":
            self.outcome = "finished"
        if self.socket is not None and not self.socket.is_disconnected:
            self.socket.send_close(WSCloseCode.OK)
            try:
                await asyncio.wait_for(self.socket.wait_disconnected(), 3)
            except TimeoutError:
                self.socket.disconnect()

    @property
    def expected(self) -> int:
        """Frames that should come back: all but the last, since the model answers a frame when it hears the next."""
        return self.frames - 1

    def lags(self) -> list[float]:
        """From sending the last of a span of audio to the arrival of the reply to that span."""
        pairs = zip(self.arrived, self.answers, strict=True)
        return [at - self.sent_at[frame] for at, frame in pairs if 0 <= frame < len(self.sent_at)]

    def intervals(self) -> list[float]:
        """Between one reply and the next."""
        return [b - a for a, b in zip(self.arrived, self.arrived[1:], strict=False)]

    def underruns(self, reserve: float) -> int:
        """How often a player that starts `reserve` after its first frame runs dry."""
        count, until = 0, None
        for arrived in self.arrived:
            if until is None or arrived > until:
                count += until is not None
                until = arrived + reserve
            until += FRAME_SECONDS
        return count

    def first_audio(self) -> float | None:
        """From the first frame sent to the first reply."""
        return self.arrived[0] - self.sent_at[0] if self.arrived and self.sent_at else None

    def real_time_factor(self) -> float:
        """Seconds of reply for each second of talk; 1 keeps up."""
        return len(self.arrived) / self.expected if self.expected else 0.0
