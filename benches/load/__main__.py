"""Puts callers on a server and measures what they get: `python benches/load --callers 16 --seconds 60`.

All callers are admitted before the first one speaks, all begin together, each sends a frame of 80 ms of speech every
80 ms whatever comes back and never two at once, and each is heard out for the same time. Those refused count: what they
did not hear is missing. Options after `--` go to the server that is started; `--url` takes one that runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from caller import Caller
from neighbours import BAD, endure
from report import summary, table
from server import Server
from speech import FRAME_SECONDS, script

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "moshi-backend"
#: Time between the last admission and the first word.
BREATH = 1.0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/load", description=__doc__)
    parser.add_argument("--url", help="a running server, as http://localhost:8998; default: start one")
    parser.add_argument("--pid", type=int, help="its process, to watch its memory and processor time")
    parser.add_argument("--binary", default=str(BINARY), help="the server to start")
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30, help="how long each talks")
    parser.add_argument("--drain", type=float, default=2, help="how long each is heard out")
    parser.add_argument("--together", action="store_true", help="frames of all callers at the same instant, not spread")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="talk so long; watch memory and processor time")
    parser.add_argument("--neighbours", action="store_true", help="one idle, silent, flooding, vanished caller too")
    parser.add_argument("--hostile", type=int, metavar="MESSAGES", help="so many messages of hostile callers too")
    parser.add_argument("--seed", type=int, default=1, help="of what they say")
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="no callers: only watch the server")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks at memory")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("server", nargs="*", help="after --: options of the server that is started")
    return parser.parse_args()


async def watch(server: Server, every: float, seen: list[dict[str, Any]]) -> None:
    """Notes memory, processor time and open calls now and then."""
    begin, spent = time.monotonic(), server.cpu_seconds()
    while True:
        await asyncio.sleep(every)
        now, used = time.monotonic(), server.cpu_seconds()
        memory = server.memory_mib()
        if memory is None or used is None or spent is None:
            return
        last = seen[-1]["at"] if seen else 0.0
        share = 100 * (used - spent) / (now - begin - last)
        calls = (await server.status())["sessions"]
        entry = {"at": round(now - begin, 3), "memory_mib": round(memory, 2), "cpu_percent": round(share, 2)}
        seen.append({**entry, "sessions": calls})
        spent = used


def growth(seen: list[dict[str, Any]]) -> dict[str, Any]:
    """What was watched, in short; memory by a straight line through the second half."""
    if not seen:
        return {}
    half = seen[len(seen) // 2 :]
    at, memory = [entry["at"] for entry in half], [entry["memory_mib"] for entry in half]
    mean_at, mean = sum(at) / len(at), sum(memory) / len(memory)
    spread = sum((t - mean_at) ** 2 for t in at)
    slope = sum((t - mean_at) * (m - mean) for t, m in zip(at, memory, strict=True)) / spread if spread else 0.0
    cpu = [entry["cpu_percent"] for entry in seen]
    per_hour = round(3600 * slope, 2)
    return {
        "memory_mib": {"first": seen[0]["memory_mib"], "last": seen[-1]["memory_mib"], "per_hour": per_hour},
        "server_cpu_percent": {"mean": round(sum(cpu) / len(cpu), 2), "max": max(cpu)},
    }


async def storm(server: Server, wish: argparse.Namespace, callers: list[Caller]) -> dict[str, Any]:
    """Hostile callers, in a process of their own so that they cannot delay those measured; these talk as long."""
    program = Path(__file__).with_name("storm.py")
    asked = [server.url.replace("http", "ws", 1), "--messages", str(wish.hostile), "--seed", str(wish.seed)]
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), *asked, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    for caller in callers:
        caller.finish()
    return {"hostile": json.loads(said)}


async def talk(server: Server, wish: argparse.Namespace) -> dict[str, Any]:
    """All callers from the first admission to the last goodbye; what they heard."""
    seconds = 60 * wish.soak if wish.soak else wish.seconds
    messages = script(seconds)
    phase = 0.0 if wish.together else FRAME_SECONDS / max(1, wish.callers)
    callers = [Caller(server.chat, messages, phase=i * phase) for i in range(wish.callers)]
    admitted = [caller for caller in callers if await caller.admit(30)]
    bad = [asyncio.create_task(endure(name, server.chat, messages)) for name in BAD] if wish.neighbours else []
    raging = asyncio.create_task(storm(server, wish, admitted)) if wish.hostile else None
    start = time.monotonic() + BREATH
    await asyncio.gather(*(caller.run(start, wish.drain) for caller in admitted))
    for task in bad:
        task.cancel()
    await asyncio.gather(*bad, return_exceptions=True)
    return summary(callers) | (await raging if raging else {})


async def measure(server: Server, wish: argparse.Namespace) -> dict[str, Any]:
    status = await server.status()
    found: dict[str, Any] = {name: status.get(name) for name in ("model", "version", "capacity")}
    found["cpus"] = os.cpu_count()
    seen: list[dict[str, Any]] = []
    before, own = await server.metrics(), time.process_time()
    watching = asyncio.create_task(watch(server, min(wish.every, wish.idle or wish.every), seen))
    begin = time.monotonic()
    if wish.idle:
        await asyncio.sleep(wish.idle + 0.2)
    else:
        found |= await talk(server, wish)
        found["driver_cpu_percent"] = round(100 * (time.process_time() - own) / (time.monotonic() - begin), 1)
        found |= (await server.metrics()).since(before)
    if watching.done():
        watching.result()
    watching.cancel()
    return found | growth(seen) | {"watched": seen}


def main() -> None:
    wish = options()
    server = Server(wish.url, wish.pid) if wish.url else Server.start(wish.binary, wish.server)
    try:
        found = asyncio.run(measure(server, wish))
    finally:
        server.stop()
    print(table(found))
    if wish.json:
        wish.json.parent.mkdir(parents=True, exist_ok=True)
        wish.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
