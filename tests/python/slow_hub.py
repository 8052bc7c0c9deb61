"""A hub on this machine that is slow, silent or busy, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "lab/tiny"
FILES = ("config.json", "model.safetensors", "mimi.safetensors", "mimi_config.json", "tokenizer.model")


class SlowHub:
    """Serves a folder as `lab/tiny`. `mood` is "slow", "silent" (no answer ever), "busy" (503) or "well"."""

    def __init__(self, folder: Path, mood: str) -> None:
        self.files = {name: (folder / name).read_bytes() for name in FILES}
        self.mood = mood
        self.ranges: list[str | None] = []
        self.asked = threading.Event()
        hub = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = self.files.get(request.path.rsplit("/", 1)[-1])
        large, head = body is not None and len(body) > 50_000, request.command == "HEAD"
        if self.mood == "silent":
            self.asked.set()
            time.sleep(60)
        if self.mood == "busy" and large and not head:
            self.asked.set()
            return request.send_error(503)
        wanted = request.headers.get("range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        request.send_response(404 if body is None else 206 if wanted else 200)
        request.send_header("x-repo-commit", COMMIT)
        if body is None:
            request.send_header("x-error-code", "EntryNotFound")
        else:
            request.send_header("etag", f'"{hashlib.sha256(body).hexdigest()}"')
        if body is not None and wanted:
            request.send_header("content-range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = (body or b"")[start:]
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        if head:
            return None
        if large:
            self.ranges.append(wanted)
        step = 4_000 if large and self.mood == "slow" else len(body) or 1
        for at in range(0, len(body), step):
            try:
                request.wfile.write(body[at : at + step])
            except OSError:
                return None
            if step < len(body):
                self.asked.set()
                time.sleep(0.1)
        return None

    def __enter__(self) -> SlowHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
