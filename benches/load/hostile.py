"""What a hostile caller says: WebSocket frames from a seed, for `/api/chat` and for `/v1/realtime`.

Most are of a kind that a server can forgive; how much of which kind is drawn anew for each call, so that some calls are
noise from the first byte and others go wrong late. Those that must end a call come from `goodbye`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from functools import cache
from random import Random

from speech import page, script

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
EVENTS = [
    "session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear",
    "response.create", "response.cancel", "output_audio_buffer.clear", "conversation.item.create",
    "conversation.item.truncate", "conversation.item.delete", "no.such.event",
]  # fmt: skip
FIELDS = [
    "type", "event_id", "session", "audio", "item_id", "content_index", "audio_end_ms", "response", "turn_detection",
    "input_audio_format", "output_audio_format", "input", "output", "format", "rate", "threshold",
    "prefix_padding_ms", "silence_duration_ms", "instructions", "item",
]  # fmt: skip
VALUES = [
    None, True, -1, 0, 2**63, -(2**70), 1e308, 0.5, "", "x", "pcm16", "g711_ulaw", "audio/pcma", "server_vad", "AAAA",
    "\u0000", "🦀" * 40, [], {}, [[]],
]  # fmt: skip


def frame(opcode: int, payload: bytes, final: bool = True, reserved: int = 0) -> bytes:
    """A client's frame. The mask is 0, so that what is sent is what was written."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    else:
        head += b"\xfe" + struct.pack(">H", size) if size < 65_536 else b"\xff" + struct.pack(">Q", size)
    return head + bytes(4) + payload


def pieces(random: Random, opcode: int, payload: bytes) -> bytes:
    """A message in fragments, with pings between them."""
    cuts = sorted(random.randrange(len(payload) + 1) for _ in range(random.randint(1, 4)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    sent = b""
    for at, part in enumerate(parts):
        sent += frame(0 if at else opcode, part, final=at == len(parts) - 1)
        if at < len(parts) - 1 and random.random() < 0.3:
            sent += frame(PING, random.randbytes(4))
    return sent


@cache
def voice() -> list[bytes]:
    """A minute of audio messages."""
    return script(60)


class Chat:
    """Says things on `/api/chat`: binary messages, the first byte of which is their type."""

    paths = ("/api/chat", "/api/chat", "/api/chat?format=pcm", "/api/chat?text_seed=1&audio_topk=5")
    usual = BINARY

    def __init__(self, random: Random) -> None:
        self.random, self.at, self.number = random, 0, 2
        self.kinds: list[Callable[[], bytes]] = [
            self.noise, self.tagged, self.tagged, self.speech, self.speech, self.torn, self.flipped, self.shuffled,
            self.odd_packet, self.headers, self.samples, self.control, self.ping,
        ]  # fmt: skip

    def noise(self) -> bytes:
        return self.random.randbytes(int(3_000 * self.random.random() ** 4))

    def tagged(self) -> bytes:
        return bytes([self.random.randrange(10)]) + self.random.randbytes(int(600 * self.random.random() ** 3))

    def speech(self) -> bytes:
        self.at = (self.at + 1) % len(voice())
        return voice()[self.at]

    def torn(self) -> bytes:
        message = self.speech()
        return message[: self.random.randrange(1, len(message))]

    def flipped(self) -> bytes:
        message = bytearray(self.speech())
        for _ in range(self.random.randint(1, 8)):
            message[self.random.randrange(1, len(message))] = self.random.randrange(256)
        return bytes(message)

    def shuffled(self) -> bytes:
        return self.random.choice(voice())

    def odd_packet(self) -> bytes:
        """A page whose checksum is right around a packet that nobody encoded."""
        self.number += 1
        packet = self.random.randbytes(self.random.randrange(200))
        return b"\x01" + page(packet, self.number, self.random.getrandbits(self.random.randrange(1, 63)))

    def headers(self) -> bytes:
        """The beginning of a stream, here and now, with numbers of its own."""
        head = b"OpusHead" + self.random.choice([b"\x01", self.random.randbytes(1)]) + self.random.randbytes(10)
        tags = b"OpusTags" + self.random.randbytes(self.random.randrange(40))
        return b"\x01" + page(head, 0, 0, first=True) + page(tags, 1, 0)

    def samples(self) -> bytes:
        return b"\x01" + self.random.randbytes(self.random.randrange(4_000))

    def control(self) -> bytes:
        return bytes([3, self.random.randrange(6)])

    def ping(self) -> bytes:
        return b"\x06"


class Realtime:
    """Says things on `/v1/realtime`: JSON in text frames."""

    paths = ("/v1/realtime?model=moshi",)
    usual = TEXT

    def __init__(self, random: Random) -> None:
        self.random = random
        self.kinds: list[Callable[[], bytes]] = [
            self.event, self.event, self.wild, self.wild, self.append, self.append, self.mutated, self.deep, self.words,
        ]  # fmt: skip

    def event(self) -> bytes:
        return self._json({"type": self.random.choice(EVENTS), "session": {}, "audio": "AAAA"})

    def wild(self) -> bytes:
        return self._json({"type": self.random.choice(EVENTS), **self._fields(3)})

    def append(self) -> bytes:
        audio = base64.b64encode(self.random.randbytes(self.random.randrange(5_000))).decode()
        return self._json({"type": "input_audio_buffer.append", "audio": audio[self.random.randrange(3) :]})

    def mutated(self) -> bytes:
        text = list(self.wild().decode())
        for _ in range(self.random.randint(1, 5)):
            text[self.random.randrange(len(text))] = chr(self.random.choice([0, 34, 92, 123, 125, 0x1F980]))
        return "".join(text).encode()

    def deep(self) -> bytes:
        return self.random.choice([b"[", b'{"session":']) * self.random.randrange(1, 2_000)

    def words(self) -> bytes:
        return "".join(chr(self.random.randrange(1, 0xD800)) for _ in range(self.random.randrange(200))).encode()

    def _fields(self, depth: int) -> dict[str, object]:
        names = self.random.sample(FIELDS, self.random.randrange(5))
        return {name: self._value(depth) for name in names}

    def _value(self, depth: int) -> object:
        return self._fields(depth - 1) if depth and self.random.random() < 0.4 else self.random.choice(VALUES)

    def _json(self, value: object) -> bytes:
        return json.dumps(value, ensure_ascii=self.random.random() < 0.5).encode()


def said(random: Random, speaker: Chat | Realtime) -> Iterator[bytes]:
    """Frames of one message each, without end."""
    weights = [random.random() ** 3 for _ in speaker.kinds]
    other = random.choice([0, 0.02, 0.2])  # frames of the wrong kind
    while True:
        payload = random.choices(speaker.kinds, weights)[0]()
        way = random.random()
        if way < 0.08:
            yield pieces(random, speaker.usual, payload)
        elif way < 0.12:
            yield frame(random.choice([PING, PONG]), payload[:125])
        elif random.random() < other:
            yield frame(BINARY if speaker.usual == TEXT else TEXT, payload.decode(errors="ignore").encode())
        else:
            yield frame(speaker.usual, payload)


def goodbye(random: Random) -> bytes:
    """The last that is sent: something that no server may accept, a close frame, or nothing."""
    noise = random.randbytes(random.randrange(100))
    return random.choice([
        b"",
        frame(CLOSE, struct.pack(">H", random.choice([1000, 1001, 1006, 4321, 0])) + noise.hex().encode()),
        frame(CLOSE, noise[:1]),
        frame(BINARY, bytes(65_537 + random.randrange(200_000))),  # longer than is allowed
        b"\x82\xff" + struct.pack(">Q", random.getrandbits(64)) + bytes(4) + noise,  # says that it is longer still
        frame(TEXT, b"\xff\xfe" + noise),
        frame(0, noise),  # goes on with what never began
        frame(TEXT, b"{", final=False) + frame(BINARY, noise),
        frame(PING, bytes(126)),
        frame(PING, noise, final=False),
        frame(random.choice([3, 7, 11, 15]), noise),
        frame(BINARY, noise, reserved=random.randint(1, 7)),
        b"\x82\x05hello",  # without a mask
        frame(BINARY, bytes(500))[: random.randrange(1, 500)],
        noise,
    ])  # fmt: skip
