"""The Ray Serve application on this machine."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("MOSHI_BACKEND", str(ROOT / "target" / "release" / "moshi-backend"))
sys.path.insert(0, str(ROOT / "benches" / "load"))


@pytest.fixture(scope="module")
def deploy() -> Iterator[Callable[..., str]]:
    """Deploys the application with the loopback and these options; gives its address."""
    import ray
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def deploy(**options: Any) -> str:
        from rustymoshi.ray import Options, app

        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app(Options(binary=BINARY, model="loopback", drain_s=1, **options)), name="moshi")
        return f"http://127.0.0.1:{port}"

    yield deploy
    serve.shutdown()
    ray.shutdown()
