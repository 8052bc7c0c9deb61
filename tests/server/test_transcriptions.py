"""`/v1/audio/transcriptions` with the official client: recordings are written down as the reference writes them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden" / "tiny-stt"
META: dict[str, Any] = json.loads((GOLDEN / "meta.json").read_text())
SPEECH = GOLDEN / "speech.wav"


@pytest.fixture
def backend(start: Callable) -> Any:
    return start("--model", str(GOLDEN), "--exact", "--port", "0", "--max-sessions", "2")


def client(backend: Any) -> OpenAI:
    return OpenAI(api_key="x", base_url=f"http://127.0.0.1:{backend.port}/v1", max_retries=0)


def test_every_format_says_what_the_reference_says(backend: Any) -> None:
    create = client(backend).audio.transcriptions.create
    assert create(file=SPEECH, model="any").text == META["text"]
    assert create(file=SPEECH, model="any", response_format="text") == META["text"] + "\n"
    verbose = create(
        file=SPEECH, model="any", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert [word.word for word in verbose.words] == [word["text"] for word in META["words"]]
    for key, name in (("start", "start"), ("end", "stop")):
        assert [getattr(word, key) for word in verbose.words] == pytest.approx(
            [word[name] for word in META["words"]], abs=1e-3
        )
    assert " ".join(segment.text for segment in verbose.segments).split() == [word["text"] for word in META["words"]]
    assert verbose.duration == pytest.approx(SPEECH.stat().st_size / 48_000, abs=0.1)
    srt = create(file=SPEECH, model="any", response_format="srt")
    assert srt.startswith("1\n00:00:0") and " --> " in srt
    assert create(file=SPEECH, model="any", response_format="vtt").startswith("WEBVTT\n\n")


def test_text_comes_as_it_is_understood(backend: Any) -> None:
    events = list(client(backend).audio.transcriptions.create(file=SPEECH, model="any", stream=True))
    kinds = [event.type for event in events]
    assert kinds[-1] == "transcript.text.done" and kinds.count("transcript.text.delta") == len(kinds) - 1 > 1
    assert events[-1].text == META["text"] == "".join(event.delta for event in events[:-1])


def test_many_at_once_say_the_same_and_one_that_vanishes_harms_none(backend: Any) -> None:
    body = SPEECH.read_bytes()
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n' + body * 20
    with socket.create_connection(("127.0.0.1", backend.port)) as vanishing:
        head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(form) + 100}\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        vanishing.sendall(head.encode() + form[: len(form) // 2])

        async def all_at_once() -> list[str]:
            base = f"http://127.0.0.1:{backend.port}/v1"
            async with AsyncOpenAI(api_key="x", base_url=base, max_retries=0) as many:
                calls = (many.audio.transcriptions.create(file=SPEECH, model="any") for _ in range(8))
                return [answer.text for answer in await asyncio.gather(*calls)]

        assert asyncio.run(all_at_once()) == [META["text"]] * 8
    # One that leaves while its text is streamed.
    with client(backend).audio.transcriptions.create(file=SPEECH, model="any", stream=True) as left:
        next(iter(left))
    time.sleep(0.2)
    assert client(backend).audio.transcriptions.create(file=SPEECH, model="any").text == META["text"]


@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        (b"this is no sound", {}, "cannot be read"),
        (b"", {}, "cannot be read"),
        (SPEECH.read_bytes()[:30], {}, "cannot be read"),
        (SPEECH.read_bytes(), {"response_format": "docx"}, "expected json, verbose_json, text, srt or vtt"),
        (SPEECH.read_bytes(), {"timestamp_granularities": ["letter"]}, "expected word or segment"),
    ],
)
def test_what_cannot_be_written_down_is_told(backend: Any, file: bytes, options: dict, expected: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        client(backend).audio.transcriptions.create(file=("x.wav", file), model="any", **options)
    assert expected in str(refused.value) and "/tmp" not in str(refused.value)
    assert client(backend).audio.transcriptions.create(file=SPEECH, model="any").text == META["text"]


def test_a_model_for_dialogue_says_that_it_is_for_something_else(start: Callable) -> None:
    with pytest.raises(BadRequestError, match="does not write down"):
        client(start()).audio.transcriptions.create(file=SPEECH, model="any")
