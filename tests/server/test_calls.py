"""Calls with an independent WebSocket library and the published clients' codec, in real time."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from types import ModuleType

import numpy as np
import pytest
import websockets
from websockets.exceptions import InvalidStatus

FRAME = 1_920
FRAME_SECONDS = 0.08


async def in_real_time(frames: list[bytes]) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop()
    begin = clock.time()
    for at, frame in enumerate(frames):
        await asyncio.sleep(max(0.0, begin + at * FRAME_SECONDS - clock.time()))
        yield frame


async def converse(url: str, frames: list[bytes], audio_messages: int) -> list[bytes]:
    """Sends audio in real time; gives every message that came until there were enough of audio."""
    heard: list[bytes] = []
    async with websockets.connect(url) as call:

        async def speak() -> None:
            async for frame in in_real_time(frames):
                await call.send(b"\x01" + frame)

        speaking = asyncio.create_task(speak())
        end = asyncio.get_running_loop().time() + len(frames) * FRAME_SECONDS + 10
        while sum(m[0] == 1 for m in heard) < audio_messages:
            message = await asyncio.wait_for(call.recv(), end - asyncio.get_running_loop().time())
            assert isinstance(message, bytes) and message
            heard.append(message)
        await speaking
    return heard


def of(heard: list[bytes], kind: int) -> list[bytes]:
    return [m[1:] for m in heard if m[0] == kind]


def opus_frames(sphn: ModuleType, pcm: np.ndarray) -> list[bytes]:
    writer = sphn.OpusStreamWriter(24_000)
    pieces = [writer.append_pcm(frame) for frame in pcm.reshape(-1, FRAME)]
    return [piece for piece in pieces if piece]


def test_speech_goes_both_ways_as_ogg_opus(start, sphn, speech, likeness) -> None:
    backend = start()
    frames = opus_frames(sphn, speech)
    heard = asyncio.run(converse(backend.chat, frames, len(frames)))
    assert heard[0] == bytes(9), "the handshake comes first"
    reader = sphn.OpusStreamReader(24_000)
    pcm = np.concatenate([reader.append_bytes(message) for message in of(heard, 1)])
    assert len(pcm) >= (len(frames) - 2) * FRAME
    assert likeness(speech, pcm) > 0.85, "it was encoded twice"
    assert b"".join(of(heard, 2)).decode().startswith(" dot dot")


def test_every_audio_message_holds_whole_pages_as_published_clients_need(start, sphn, speech) -> None:
    backend = start()
    frames = opus_frames(sphn, speech[: 24_000 * 2 // FRAME * FRAME])
    heard = asyncio.run(converse(backend.chat, frames, len(frames)))
    pages = [list(parse_pages(message)) for message in of(heard, 1)]
    (head, tags), *rest = pages
    assert head["flags"] == 2 and head["number"] == 0 and head["granule"] == 0
    assert head["body"] == b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 3_840, 48_000, 0, 0)
    assert tags["number"] == 1 and tags["body"].startswith(b"OpusTags")
    audio = [page for message in rest for page in message]
    assert all(len(message) == 2 for message in rest), "two packets of 40 ms in a message"
    assert [page["number"] for page in audio] == list(range(2, 2 + len(audio)))
    assert [page["granule"] for page in audio] == [1_920 * (i + 1) for i in range(len(audio))]
    assert len({page["serial"] for page in [head, tags, *audio]}) == 1


def parse_pages(data: bytes):
    """Ogg pages that fill `data` exactly."""
    at = 0
    while at < len(data):
        capture, version, flags, granule, serial, number, _crc, segments = struct.unpack_from("<4sBBqIIIB", data, at)
        assert (capture, version) == (b"OggS", 0)
        size = sum(data[at + 27 : at + 27 + segments])
        start = at + 27 + segments
        yield {"flags": flags, "granule": granule, "serial": serial, "number": number,
               "body": data[start : start + size]}  # fmt: skip
        at = start + size
    assert at == len(data)


def test_metadata_is_what_the_published_page_wants(start) -> None:
    backend = start()

    async def first_messages() -> list[bytes]:
        async with websockets.connect(backend.chat + "?text_temperature=0.25&text_topk=7&worker_auth_id=x") as call:
            return [await call.recv() for _ in range(3)]

    metadata = json.loads(of(asyncio.run(first_messages()), 4)[0])
    numbers = {"text_temperature": 0.25, "text_topk": 7, "audio_temperature": 0.8, "audio_topk": 250, "pad_mult": 0,
               "repetition_penalty_context": 64, "repetition_penalty": 1}  # fmt: skip
    assert {name: pytest.approx(metadata[name], abs=1e-6) for name in numbers} == numbers
    assert isinstance(metadata["lm_model_file"], str) and metadata["instance_name"] == "rustymoshi"
    assert set(metadata["build_info"]) == {
        "build_timestamp", "build_date", "git_branch", "git_timestamp", "git_date", "git_hash", "git_describe",
        "rustc_host_triple", "rustc_version", "cargo_target_triple"}  # fmt: skip
    assert all(isinstance(value, str) for value in metadata["build_info"].values())


def test_eight_callers_at_once_and_the_ninth_is_told_why_not(start, sphn, speech, likeness) -> None:
    backend = start("--max-sessions", "8")
    frames = opus_frames(sphn, speech[: 24_000 * 4 // FRAME * FRAME])

    async def house() -> list[list[bytes]]:
        calls = [asyncio.create_task(converse(backend.chat, frames, len(frames))) for _ in range(8)]
        await asyncio.sleep(1.5)
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(backend.chat)
        answer = refused.value.response
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "5"
        assert json.loads(answer.body) == {"error": "full", "reason": "all 8 places are taken", "retry_after": 5}
        return await asyncio.gather(*calls)

    for heard in asyncio.run(house()):
        reader = sphn.OpusStreamReader(24_000)
        pcm = np.concatenate([reader.append_bytes(message) for message in of(heard, 1)])
        assert likeness(speech, pcm) > 0.5, "each hears its own voice, whole"
        assert len(pcm) >= (len(frames) - 2) * FRAME


@pytest.mark.parametrize("size", [1, 40, 480, 1_920, 4_800])
def test_raw_audio_of_any_piece_size_comes_back_exactly(start: Callable, size: int) -> None:
    backend = start()
    sent = np.random.default_rng(size).integers(-32_768, 32_767, 4 * FRAME).astype("<i2").tobytes()
    pieces = [sent[at : at + 2 * size] for at in range(0, len(sent), 2 * size)]
    pieces = [b"".join(pieces[:200]), *pieces[200:1_000], b"".join(pieces[1_000:])] if size == 1 else pieces

    async def call() -> bytes:
        back = b""
        async with websockets.connect(backend.chat + "?format=pcm") as socket:
            for piece in pieces:
                await socket.send(b"\x01" + piece)
            while len(back) < 3 * 2 * FRAME:
                message = await asyncio.wait_for(socket.recv(), 10)
                back += message[1:] if message[0] == 1 else b""
        return back

    assert asyncio.run(call()) == sent[: 3 * 2 * FRAME]


@pytest.mark.parametrize("page_frames", [9, 25])
def test_pages_of_a_second_are_heard_whole(start, sphn, speech, page_frames: int) -> None:
    backend = start()
    frames = opus_frames(sphn, speech[: 24_000 * 4 // FRAME * FRAME])
    pages = [b"".join(frames[at : at + page_frames]) for at in range(0, len(frames), page_frames)]

    async def call() -> int:
        heard = 0
        async with websockets.connect(backend.chat) as socket:

            async def listen() -> None:
                nonlocal heard
                async for message in socket:
                    heard += message[0] == 1

            listening = asyncio.create_task(listen())
            for page in pages:
                await asyncio.sleep(page_frames * FRAME_SECONDS)
                await socket.send(b"\x01" + page)
            await asyncio.sleep(page_frames * FRAME_SECONDS + 1)
            listening.cancel()
        return heard

    assert asyncio.run(call()) >= len(frames) - 2


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_hang_up_is_answered(start, code: int) -> None:
    backend = start()

    async def hang_up(path: str) -> int | None:
        socket = await websockets.connect(f"ws://127.0.0.1:{backend.port}{path}")
        await socket.recv()
        await socket.close(code, "bye")
        return socket.protocol.close_rcvd and socket.protocol.close_rcvd.code

    for path in ("/api/chat", "/v1/realtime"):
        assert asyncio.run(hang_up(path)) == code
