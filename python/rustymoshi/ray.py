"""A Ray Serve application: every replica holds one engine, and a call stays on its replica until it ends.

A replica runs one `moshi-backend` (one model, one batch of rows) as a child and passes WebSocket messages on, both ways
and untouched, so protocol, limits and admission are those of the server itself. Ray counts an open WebSocket as one
ongoing request: the number of replicas follows the number of calls. Needs the wheel with its extra `ray` (see the
README) and the binary:

    serve run rustymoshi.ray:app model=built-in sessions=8 max_replicas=4 allow_origin=https://talk.example
"""

# Annotations are values here: FastAPI reads them in the replicas, where names of this module are not found as text.
import asyncio
import os
import signal
import subprocess
import time
from typing import Any

import aiohttp
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field
from ray import serve

#: Close code of a call that found no place; clients try again later.
BUSY = 1013
#: Close code of a call that may not come: its page is not one that may call, or its key is unknown.
FORBIDDEN = 1008
#: Close code of a replica whose server went away under the call.
GONE = 1001
#: Headers by which a server judges a call.
CALL_HEADERS = ("authorization", "host", "origin")
#: Headers that belong to one connection only.
HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"}

web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


class Options(BaseModel):
    """Arguments of `serve run rustymoshi.ray:app name=value ...`."""

    #: The server's binary.
    binary: str = Field(default_factory=lambda: os.environ.get("MOSHI_BACKEND", "moshi-backend"))
    #: A folder, a repository, `built-in` or `loopback`.
    model: str = "built-in"
    #: Calls on one replica at once.
    sessions: int = Field(default=8, ge=1)
    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=4, ge=1)
    #: Share of a replica's calls above which another one is started.
    target_load: float = Field(default=0.7, gt=0, le=1)
    #: How long it must be busy before another replica starts, and quiet before one goes away, in seconds.
    upscale_delay_s: float = Field(default=5, ge=0)
    downscale_delay_s: float = Field(default=120, ge=0)
    #: Processors and accelerators of a replica.
    num_cpus: float = 1
    num_gpus: float = 0
    #: How long the calls of a replica that goes away may go on, in seconds.
    drain_s: int = 30
    #: Origins whose pages may call besides the server's own, separated by commas.
    allow_origin: str = ""
    #: Further options of `moshi-backend standalone`.
    options: list[str] = []


class Child:
    """A `moshi-backend` on a free port of this machine."""

    def __init__(self, wish: Options) -> None:
        command = [wish.binary, "standalone", "--host", "127.0.0.1", "--port", "0", "--no-tls"]
        command += ["--model", wish.model, "--max-sessions", str(wish.sessions), "--drain", str(wish.drain_s)]
        if wish.allow_origin:
            command += ["--allow-origin", wish.allow_origin]
        command += wish.options
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self._wait_until_open()

    def _wait_until_open(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("open "):
                return line.removeprefix("open ").strip()
        raise RuntimeError(f"{self.process.args!r} ended with code {self.process.wait()} before it took calls")

    def stop(self, patience: float) -> None:
        """Asks it to drain, and ends it when it does not."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + patience
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        self.process.kill()
        self.process.wait()


async def refuse(caller: WebSocket, offered: list[str], status: int) -> None:
    """Tells a caller to come back later, or not at all: browsers read a close code, not the status of a refused
    upgrade."""
    await caller.accept(subprotocol=offered[0] if offered else None)
    await caller.close(FORBIDDEN if status in (401, 403) else BUSY, f"refused: {status}")


async def relay(caller: WebSocket, server: "aiohttp.ClientWebSocketResponse[Any]") -> int | None:
    """Both directions until one side ends; the server's close code if it was the server."""

    async def up() -> None:
        try:
            while True:
                message = await caller.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if (data := message.get("bytes")) is not None:
                    await server.send_bytes(data)
                else:
                    await server.send_str(message["text"])
        except (WebSocketDisconnect, ConnectionError):
            return

    async def down() -> int:
        async for message in server:
            if message.type == aiohttp.WSMsgType.BINARY:
                await caller.send_bytes(message.data)
            elif message.type == aiohttp.WSMsgType.TEXT:
                await caller.send_text(message.data)
        return server.close_code or GONE

    upward, downward = asyncio.create_task(up()), asyncio.create_task(down())
    done, pending = await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return downward.result() if downward in done and downward.exception() is None else None


@serve.deployment
@serve.ingress(web)
class Engine:
    """One replica. It stands below what it uses: `ingress` takes the module as it is here to the replicas."""

    def __init__(self, wish: Options) -> None:
        self.wish = wish
        self.child = Child(wish)
        self.client: aiohttp.ClientSession | None = None

    def http(self) -> aiohttp.ClientSession:
        """The connections to the child; made inside the event loop."""
        if self.client is None:
            self.client = aiohttp.ClientSession(self.child.url, auto_decompress=False)
        return self.client

    async def check_health(self) -> None:
        """Ray restarts a replica for which this raises: its process is gone, or its model is lost for good."""
        if self.child.process.poll() is not None:
            raise RuntimeError(f"the server ended with code {self.child.process.returncode}")
        async with self.http().get("/health/live") as answer:
            if answer.status != 200:
                raise RuntimeError(f"/health/live says {answer.status}: {await answer.text()}")

    def __del__(self) -> None:
        if hasattr(self, "child"):
            self.child.stop(self.wish.drain_s + 5)

    @web.websocket("/api/chat")
    @web.websocket("/v1/realtime")
    async def call(self, caller: WebSocket) -> None:
        """Passes one call on, from the first message to the close code."""
        target = caller.url.path + (f"?{caller.url.query}" if caller.url.query else "")
        # Ray's proxy lets every page in. Which pages may call is the server's to say, so it hears which page that is.
        headers = {name: value for name in CALL_HEADERS if (value := caller.headers.get(name))}
        offered = caller.scope.get("subprotocols", [])
        try:
            server = await self.http().ws_connect(target, headers=headers, protocols=offered, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as refusal:
            await refuse(caller, offered, refusal.status)
            return
        async with server:
            await caller.accept(subprotocol=server.protocol)
            code = await relay(caller, server)
            if code is not None:
                await caller.close(code)

    @web.get("/{path:path}")
    async def get(self, path: str, request: Request) -> Response:
        """The page, health, status and metrics of the replica that answers."""
        kept = {name: value for name in ("authorization", "if-none-match") if (value := request.headers.get(name))}
        async with self.http().get(f"/{path}", params=request.query_params, headers=kept) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_HEADERS}
            return Response(await answer.read(), answer.status, headers)


def app(wish: Options) -> Any:
    """The application for `serve run` and for `serve.run(app(Options(...)))`."""
    scaling = {
        "min_replicas": wish.min_replicas,
        "max_replicas": wish.max_replicas,
        "target_ongoing_requests": max(1.0, wish.target_load * wish.sessions),
        "upscale_delay_s": wish.upscale_delay_s,
        "downscale_delay_s": wish.downscale_delay_s,
    }
    deployment: Any = Engine  # what the decorators make of it; Ray's types say that it stays a class
    return deployment.options(
        autoscaling_config=scaling,
        # Above the server's own limit, so that it is the server that says no, with its reason; health needs room too.
        max_ongoing_requests=wish.sessions + 4,
        graceful_shutdown_timeout_s=wish.drain_s + 10,
        health_check_period_s=5,
        ray_actor_options={"num_cpus": wish.num_cpus, "num_gpus": wish.num_gpus},
    ).bind(wish)
