"""The program itself: start, options, environment, certificates, and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import stat
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus


def get(url: str, context: ssl.SSLContext | None = None) -> str:
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:
        return answer.read().decode()


def test_sigterm_closes_calls_with_a_reason_and_ends_well(start) -> None:
    backend = start()

    async def call() -> ConnectionClosed:
        async with websockets.connect(backend.chat) as socket:
            await socket.recv()
            stopping = asyncio.create_task(asyncio.to_thread(backend.stop))
            try:
                while True:
                    await asyncio.wait_for(socket.recv(), 10)
            except ConnectionClosed as closed:
                assert await stopping == 0
                return closed

    closed = asyncio.run(call())
    assert closed.rcvd is not None and closed.rcvd.code == 1001
    assert "shutting down" in closed.rcvd.reason


def test_it_says_what_to_open_and_that_nothing_is_loaded(start) -> None:
    backend = start()
    assert backend.url == f"http://localhost:{backend.port}"
    assert any("hears itself" in line for line in backend.said)
    assert json.loads(get(backend.url + "/health/ready")) == {"status": "ready"}
    assert backend.stop() == 0


def test_the_environment_sets_what_no_option_does(start) -> None:
    environment = {"MOSHI_MODEL": "loopback", "MOSHI_PORT": "0", "MOSHI_MAX_SESSIONS": "3", "MOSHI_LOG_FORMAT": "json"}
    backend = start("--max-sessions", "2", environment=environment)
    assert json.loads(get(backend.url + "/status"))["capacity"] == 2
    assert backend.stop() == 0
    lines = [json.loads(line) for line in backend.errors]
    assert any(line["fields"]["message"] == "ready" for line in lines)


def test_tls_with_a_certificate_made_on_first_use(start, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    options = ("--tls", "--cert-dir", str(folder))
    first = start(*options)
    assert first.url.startswith("https://localhost:")
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    assert "ready" in get(first.url + "/health", trust)

    async def handshake() -> bytes:
        async with websockets.connect(first.chat, ssl=trust) as socket:
            return await socket.recv()

    assert asyncio.run(handshake()) == bytes(9)
    assert first.stop() == 0
    second = start(*options)
    assert "ready" in get(second.url + "/health", trust), "the same certificate is shown again"


def test_a_signal_has_keys_read_again(start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-this-house-1\n")
    backend = start("--api-key-file", str(keys))
    assert json.loads(get(backend.url + "/status"))["needs_key"]
    for count in (1, 2):
        backend.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while sum("keys read again" in line for line in backend.errors) < count and time.monotonic() < end:
            time.sleep(0.05)
    assert sum("keys read again" in line for line in backend.errors) == 2, backend.errors
    assert backend.stop() == 0


def test_no_log_holds_a_key_a_word_or_a_sample(start) -> None:
    key, other = "a-key-of-this-house-1", "another-that-is-wrong"
    environment = {"MOSHI_MODEL": "loopback", "MOSHI_PORT": "0", "MOSHI_API_KEYS": key, "MOSHI_LOG": "trace"}
    backend = start(environment=environment)
    sound = b"a sound that nobody writes down " * 120

    async def call() -> bytes:
        words = b""
        for wrong in ({"Authorization": f"Bearer {other}"}, {"Sec-WebSocket-Protocol": f"rustymoshi-key.{other}"}):
            with pytest.raises(InvalidStatus):
                await websockets.connect(backend.chat, additional_headers=wrong)
        with pytest.raises(InvalidStatus):
            await websockets.connect(f"{backend.chat}?api_key={other}")
        protocols = [websockets.Subprotocol(name) for name in ("rustymoshi", f"rustymoshi-key.{key}")]
        async with websockets.connect(backend.chat + "?format=pcm", subprotocols=protocols) as socket:
            for _ in range(12):
                await socket.send(b"\x01" + sound)
            while not words:
                message = await asyncio.wait_for(socket.recv(), 10)
                words = message[1:] if message[:1] == b"\x02" else b""
        bearer = {"Authorization": f"Bearer {key}"}
        async with websockets.connect(backend.url.replace("http", "ws") + "/v1/realtime", additional_headers=bearer):
            pass
        return words

    words = asyncio.run(call()).decode()
    assert backend.stop() == 0
    log = "\n".join(backend.errors)
    assert "call begins" in log and "call ended" in log
    numbers = ", ".join(str(byte) for byte in sound[:8])
    for secret in (key, other, "a sound that nobody", numbers, sound[:8].hex(), f'"{words}"', f"{words.strip()} "):
        at = log.find(secret)
        assert at < 0, f"{secret!r} in the log: {log[max(0, at - 200) : at + 100]}"


def test_wrong_starts_end_with_one_clear_line(binary: Path, tmp_path: Path) -> None:
    config = tmp_path / "x.json"
    config.write_text('{"max_session": 3}')
    for options, words in [
        (["--config", str(config)], ['unknown key "max_session"', 'did you mean "max_sessions"?']),
        (["--model", "no/such/model/at all"], ["--model", "neither a file"]),
        (["--model", "loopback", "--static", "/no/such"], ["static_dir", "/no/such", "is not a folder"]),
        (["--model", "loopback", "--host", "203.0.113.1", "--no-tls"], ["cannot listen on 203.0.113.1"]),
        (["--model", "loopback", "--cert", "/no/cert", "--key", "/no/key"], ["/no/cert"]),
        (["--cert", "x"], ["--key"]),
        (["--port", "99999"], ["99999"]),
    ]:
        done = subprocess.run([binary, "standalone", *options], capture_output=True, text=True, timeout=30)
        assert done.returncode != 0, options
        assert all(word in done.stderr for word in words), (options, done.stderr)
        assert "panicked" not in done.stderr


def test_check_config_reads_every_file_of_the_project(binary: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    files = sorted(str(path) for path in (root / "config").glob("*.json"))
    done = subprocess.run([binary, "check-config", *files], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": good") == len(files) >= 16
    assert "warning" not in done.stdout
