"""Speech as Ogg Opus messages of 80 ms for as long as a call lasts: `speech.opus` over and over as one endless stream.

As the published client sends: two pages with one packet of 40 ms each in a message. The pre-skip is 0, so that the
time line of what is sent is that of what the server hears.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

#: Seconds of audio in a message: one frame of the model.
FRAME_SECONDS = 0.08
PACKET_SAMPLES = 1_920  # 40 ms at 48 kHz
SPEECH = Path(__file__).with_name("speech.opus")


def _crc_table() -> list[int]:
    table = []
    for i in range(256):
        r = i << 24
        for _ in range(8):
            r = ((r << 1) ^ 0x04C11DB7) & 0xFFFFFFFF if r & 0x80000000 else r << 1
        table.append(r)
    return table


CRC_TABLE = _crc_table()


def crc(data: bytes) -> int:
    """Ogg's checksum (RFC 3533)."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFFFFFF) ^ CRC_TABLE[(value >> 24) ^ byte]
    return value


def packets(data: bytes) -> list[bytes]:
    """The packets of an Ogg file, without its two headers."""
    found: list[bytes] = []
    part = b""
    at = 0
    while at < len(data):
        assert data[at : at + 4] == b"OggS", f"no page at byte {at}"
        segments = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(segments)
        for lacing in segments:
            part += data[at : at + lacing]
            at += lacing
            if lacing < 255:
                found.append(part)
                part = b""
    return found[2:]


def page(packet: bytes, sequence: int, granule: int, first: bool = False) -> bytes:
    """One page around one packet."""
    segments = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    head = b"OggS" + struct.pack("<BBqIII", 0, 2 if first else 0, granule, 1, sequence, 0) + bytes([len(segments)])
    whole = head + segments + packet
    return whole[:22] + struct.pack("<I", crc(whole)) + whole[26:]


def headers() -> bytes:
    """The two header pages: 24 kHz, mono."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 24_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 4) + b"load" + struct.pack("<I", 0)
    return page(head, 0, 0, first=True) + page(tags, 1, 0)


def frames(path: Path = SPEECH) -> Iterator[bytes]:
    """Payloads of 80 ms without end."""
    sound = cycle(packets(path.read_bytes())[:-1])  # the last packet of a file may be shorter
    sequence, granule = 2, 0
    while True:
        pages = b""
        for _ in range(2):
            granule += PACKET_SAMPLES
            pages += page(next(sound), sequence, granule)
            sequence += 1
        yield pages


def script(seconds: float) -> list[bytes]:
    """The audio messages of a call and one more, made before it starts so that making them costs nothing later."""
    sound = frames()
    return [b"\x01" + next(sound) for _ in range(round(seconds / FRAME_SECONDS) + 1)]


def reply_frame(message: bytes) -> int | None:
    """Which frame of the server's stream an audio message ends with, counted from 0; None if it holds headers only."""
    at, granule = 1, 0
    while at + 27 <= len(message):
        granule = struct.unpack_from("<q", message, at + 6)[0]
        segments = message[at + 26]
        at += 27 + segments + sum(message[at + 27 : at + 27 + segments])
    # Header pages are at 0.
    return round(granule / (2 * PACKET_SAMPLES)) - 1 if granule > 0 else None
