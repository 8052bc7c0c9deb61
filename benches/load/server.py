"""The server under load: started by the driver or already running, and what it says and uses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BUCKET = re.compile(r'^moshi_(\w+)_seconds_bucket\{.*?le="([^"]+)".*?\} (\d+)', re.MULTILINE)
PLAIN = re.compile(r"^(moshi_\w+) ([0-9.e+-]+)$", re.MULTILINE)


@dataclass
class Server:
    """Where it is, and its process where that is on this machine."""

    url: str
    pid: int | None = None
    process: subprocess.Popen[str] | None = None

    @classmethod
    def start(cls, binary: str, options: list[str]) -> Server:
        """Starts `binary standalone` on a free port and waits until it takes calls."""
        command = [binary, "standalone", "--no-tls", "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("open "):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return cls(line.removeprefix("open ").strip(), process.pid, process)
        raise SystemExit(f"the server ended with code {process.wait()}")

    @property
    def chat(self) -> str:
        return self.url.replace("http", "ws", 1).rstrip("/") + "/api/chat"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url.rstrip('/')}/{path}", timeout=5) as answer:
            return answer.read().decode()

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await asyncio.to_thread(self.get, "status"))
        return found

    async def metrics(self) -> Metrics:
        return Metrics(await asyncio.to_thread(self.get, "metrics"))

    def memory_mib(self) -> float | None:
        """Resident memory."""
        if self.pid is None:
            return None
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20

    def cpu_seconds(self) -> float | None:
        """Processor time of all its threads since it began."""
        if self.pid is None:
            return None
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Metrics:
    """One reading of `/metrics`."""

    #: Histograms of times, and what the report calls them.
    TIMES: ClassVar = {"tick": "tick_ms", "step": "step_ms", "added": "added_ms", "reply_lag": "server_lag_ms"}
    COUNTERS: ClassVar = (
        "moshi_deadline_misses_total",
        "moshi_frames_dropped_total",
        "moshi_frames_total",
        "moshi_underruns_total",
    )

    def __init__(self, text: str) -> None:
        self.buckets: dict[str, dict[float, int]] = {}
        for name, edge, count in BUCKET.findall(text):
            self.buckets.setdefault(name, {})[float(edge)] = int(count)
        self.values = {name: float(value) for name, value in PLAIN.findall(text)}

    def since(self, before: Metrics) -> dict[str, Any]:
        """What happened between two readings: ticks, percentiles (linear inside a bucket), misses, dropped frames."""
        found: dict[str, Any] = {}
        for name, told in self.TIMES.items():
            old = before.buckets.get(name, {})
            counts = {edge: n - old.get(edge, 0) for edge, n in sorted(self.buckets.get(name, {}).items())}
            if name == "tick":
                found["ticks"] = counts.get(float("inf"), 0)
            found[told] = {f"p{round(part * 100)}": quantile(counts, part) for part in (0.5, 0.95, 0.99)}
        change = {name: int(self.values.get(name, 0) - before.values.get(name, 0)) for name in self.COUNTERS}
        return found | change


def quantile(counts: dict[float, int], part: float) -> float | None:
    """Of a cumulative histogram in seconds, in milliseconds."""
    total = counts.get(float("inf"), 0)
    if total == 0:
        return None
    low, below = 0.0, 0
    for edge, count in counts.items():
        if count >= part * total:
            if edge == float("inf"):
                return 1000 * low
            inside = (part * total - below) / max(1, count - below)
            return round(1000 * (low + inside * (edge - low)), 3)
        low, below = edge, count
    return None
