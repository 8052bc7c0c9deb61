"""`/v1/realtime` with the official client: AsyncOpenAI pointed at a loopback, which says back what it hears."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import numpy as np
import pytest
from openai import AsyncOpenAI

RATE = 24_000


def client_of(backend) -> AsyncOpenAI:
    base = f"127.0.0.1:{backend.port}/v1"
    return AsyncOpenAI(api_key="x", base_url=f"http://{base}", websocket_base_url=f"ws://{base}")


async def converse(backend, session: dict | None, audio: bytes, bytes_a_second: int, **connect) -> list:
    """Sends audio in pieces of 100 ms in real time; gives every event up to the end of a response after the last."""
    events = []
    async with client_of(backend).realtime.connect(model="moshi", **connect) as connection:
        if session is not None:
            await connection.session.update(session=session)

        async def speak() -> None:
            step = bytes_a_second // 10
            for at in range(0, len(audio), step):
                await connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + step]).decode())
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        end = asyncio.get_running_loop().time() + len(audio) / bytes_a_second + 10
        while not (events and events[-1].type == "response.done" and speaking.done()):
            events.append(await asyncio.wait_for(connection.recv(), end - asyncio.get_running_loop().time()))
        await speaking
    return events


def voice(events: list, stem: str) -> bytes:
    return b"".join(base64.b64decode(event.delta) for event in events if event.type == f"{stem}.delta")


def test_speech_comes_back_with_words_in_responses(start: Callable, speech: np.ndarray, likeness: Callable) -> None:
    backend = start()
    pcm = (speech[: 4 * RATE] * 32_767).astype("<i2").tobytes()
    events = asyncio.run(converse(backend, None, pcm, 2 * RATE))
    assert events[0].type == "session.created" and events[0].session.audio.input.format.rate == RATE
    kinds = [event.type for event in events]
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.created")
    heard = np.frombuffer(voice(events, "response.output_audio"), dtype="<i2") / 32_768
    assert likeness(speech[: 4 * RATE], heard) > 0.7, "pauses between responses are not sent"
    done = events[-1].response
    assert done.status == "completed" and done.output[0].role == "assistant"
    words = "".join(event.delta for event in events if event.type == "response.output_audio_transcript.delta")
    assert words.startswith(" dot")
    assert "error" not in kinds


@pytest.mark.parametrize("name", ["pcmu", "pcma"])
def test_telephones_are_heard_and_hear(start: Callable, name: str) -> None:
    backend = start()
    times = np.arange(2 * 8_000) / 8_000
    tone = np.sign(np.sin(2 * np.pi * 250 * times)) > 0
    loud = {"pcmu": (0x9F, 0x1F), "pcma": (0x8A, 0x0A)}[name]
    audio = np.where(tone, *loud).astype(np.uint8).tobytes()
    session = {"type": "realtime", "audio": {"input": {"format": {"type": f"audio/{name}"}},
                                             "output": {"format": {"type": f"audio/{name}"}}}}  # fmt: skip
    events = asyncio.run(converse(backend, session, audio, 8_000))
    updated = next(event for event in events if event.type == "session.updated")
    assert updated.session.audio.output.format.type == f"audio/{name}"
    heard = np.frombuffer(voice(events, "response.output_audio"), dtype=np.uint8)
    signs = np.where(heard & 0x80, 1.0, -1.0)
    # The tone of 250 Hz stands out of the signs alone.
    spectrum = np.abs(np.fft.rfft(signs[2_000:14_000]))
    assert spectrum[1:].argmax() + 1 == pytest.approx(250 * 12_000 / 8_000, abs=2)
    assert len(heard) > 15_000


def test_the_beta_spelling_is_spoken_to_those_who_ask_for_it(start: Callable, speech: np.ndarray) -> None:
    backend = start()
    pcm = (speech[: 2 * RATE] * 32_767).astype("<i2").tobytes()
    beta = {"extra_headers": {"OpenAI-Beta": "realtime=v1"}}
    session = {"input_audio_format": "pcm16", "output_audio_format": "g711_ulaw"}
    events = asyncio.run(converse(backend, session, pcm, 2 * RATE, **beta))
    kinds = {event.type for event in events}
    assert {"response.audio.delta", "response.audio.done", "conversation.item.created"} <= kinds
    assert not any("output_audio" in kind for kind in kinds)
    assert len(voice(events, "response.audio")) > 8_000


def test_mistakes_are_told_and_the_session_goes_on(start: Callable) -> None:
    backend = start()

    async def talk() -> list:
        async with client_of(backend).realtime.connect(model="moshi") as connection:
            assert (await connection.recv()).type == "session.created"
            await connection.send({"type": "no.such.event", "event_id": "mine"})  # type: ignore[arg-type]
            error = await connection.recv()
            await connection.input_audio_buffer.commit()
            empty = await connection.recv()
            await connection.input_audio_buffer.clear()
            cleared = await connection.recv()
            await connection.response.create()
            created = await connection.recv()
            while (await connection.recv()).type != "response.output_audio.delta":
                pass
            await connection.response.cancel()
            while (done := await connection.recv()).type != "response.done":
                pass
            return [error, empty, cleared, created, done]

    error, empty, cleared, created, done = asyncio.run(talk())
    assert (error.type, error.error.code, error.error.event_id) == ("error", "unknown_event", "mine")
    assert empty.error.code == "input_audio_buffer_commit_empty"
    assert (cleared.type, created.type) == ("input_audio_buffer.cleared", "response.created")
    assert done.response.status == "cancelled"


def test_a_history_and_a_greeting_as_frameworks_send_them(start: Callable) -> None:
    backend = start()

    async def talk() -> list:
        async with client_of(backend).realtime.connect(model="moshi") as connection:
            seen = [await connection.recv()]
            content = [{"type": "input_text", "text": "Hello, I am Ada."}]
            item = {"id": "ada_1", "type": "message", "role": "user", "content": content}
            await connection.conversation.item.create(item=item, previous_item_id="root", event_id="e1")
            seen += [await connection.recv(), await connection.recv()]
            await connection.conversation.item.retrieve(item_id="ada_1")
            seen.append(await connection.recv())
            await connection.conversation.item.delete(item_id="nobody", event_id="e2")
            seen.append(await connection.recv())
            await connection.response.create(response={"metadata": {"client_event_id": "e3"}})
            seen.append(await connection.recv())
            await connection.response.cancel()
            while seen[-1].type != "response.done":
                seen.append(await connection.recv())
            await connection.response.cancel()
            while seen[-1].type != "error":
                seen.append(await connection.recv())
            await connection.close(code=1000, reason="bye")
            answered = connection._connection.protocol.close_rcvd
            assert answered is not None and answered.code == 1000
            return seen

    _, added, done, found, unknown, created, *_, late = asyncio.run(talk())
    assert (added.type, done.type, found.type) == (
        "conversation.item.added", "conversation.item.done", "conversation.item.retrieved")  # fmt: skip
    assert added.item.id == found.item.id == "ada_1" and found.item.content[0].text == "Hello, I am Ada."
    assert (unknown.error.code, unknown.error.event_id) == ("item_delete_invalid_item_id", "e2")
    assert created.response.metadata == {"client_event_id": "e3"}
    assert late.error.message.startswith("Cancellation failed")
