"""Puts callers on a server and measures what they get: `python benches/load --callers 16 --seconds 60`.

All callers are admitted before the first one speaks, all begin together, each sends a frame of 80 ms of speech every
80 ms whatever comes back and never two at once, and each is heard out for the same time. Those refused count: what they
did not hear is missing. Options after `--` go to the server that is started; `--url` takes one that runs.

With `--find-limit` the driver finds how many callers fit: p99 tick < 80 ms, nobody refused, no frame missing, no
underrun. With `--seconds` too, that many then talk for so long, and with `--soak` half of those for so many minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from report import table
from run import Wish, idle, run
from search import Search
from server import Server

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "moshi-backend"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benches/load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a running server, as http://localhost:8998; default: start one")
    parser.add_argument("--pid", type=int, help="its process, to watch its memory and processor time")
    parser.add_argument("--binary", default=str(BINARY), help="the server to start")
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="how long each talks (default: 30)")
    parser.add_argument("--drain", type=float, default=2, help="how long each is heard out")
    parser.add_argument("--together", action="store_true", help="frames of all callers at the same instant, not spread")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="talk so long; watch memory and processor time")
    parser.add_argument("--neighbours", action="store_true", help="one idle, silent, flooding, vanished caller too")
    parser.add_argument("--hostile", type=int, default=0, metavar="MESSAGES", help="so many of hostile callers too")
    parser.add_argument("--seed", type=int, default=1, help="of what these say")
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="no callers: only watch the server")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks at memory")
    parser.add_argument("--find-limit", action="store_true", help="find how many callers fit")
    parser.add_argument("--trial", type=float, default=15, metavar="SECONDS", help="length of a trial of --find-limit")
    parser.add_argument("--most", type=int, default=256, help="no more callers than these are tried")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("server", nargs="*", help="after --: options of the server that is started")
    return parser.parse_args()


def start(asked: argparse.Namespace) -> Server:
    """The server: a running one, or one of our own; where the limit is looked for, with room for all who are tried."""
    if asked.url:
        return Server(asked.url, asked.pid)
    fixed = any(option.startswith("--max-sessions") for option in asked.server) or not asked.find_limit
    return Server.start(asked.binary, asked.server + ([] if fixed else ["--max-sessions", str(asked.most)]))


async def find(server: Server, asked: argparse.Namespace, wish: Wish) -> dict[str, Any]:
    """The limit, a long run there, and a soak at half of it."""
    search = Search(server, Wish(**{**vars(wish), "seconds": asked.trial}), asked.most)
    limit = await search.limit()
    found: dict[str, Any] = {"limit": limit, "trials": search.trials}
    runs: list[dict[str, Any]] = []
    if asked.seconds:
        limit, runs = await search.held(limit, asked.seconds)
        found |= {"held": limit, "held_seconds": asked.seconds, "runs": runs}
    found["bound_by"] = search.bound_by(limit, runs)
    if asked.soak and limit:
        half = Wish(**{**vars(wish), "callers": max(1, limit // 2), "seconds": 60 * asked.soak})
        found["soak"] = await run(server, half)
    return found


async def measure(server: Server, asked: argparse.Namespace) -> dict[str, Any]:
    seconds = 60 * asked.soak if asked.soak else asked.seconds or 30
    also = {"neighbours": asked.neighbours, "hostile": asked.hostile, "seed": asked.seed}
    wish = Wish(asked.callers, seconds, asked.drain, not asked.together, every=asked.every, **also)
    if asked.idle:
        return await idle(server, asked.idle, asked.every)
    return await (find(server, asked, wish) if asked.find_limit else run(server, wish))


def show(found: dict[str, Any]) -> str:
    """The tables of the runs that matter."""
    if "trials" not in found:
        return table(found)
    held = f"; {found['held']} callers for {found['held_seconds']:.0f} s" if "held" in found else ""
    parts = [f"{found['limit']} callers fit{held}; what kept it from more: {found['bound_by']}"]
    fitting = [trial for trial in found["trials"] if not trial["misfits"]]
    runs = found.get("runs", sorted(fitting, key=lambda trial: trial["callers"]))[-1:]
    return "\n\n".join(parts + [table(run) for run in [*runs, *([found["soak"]] if "soak" in found else [])]])


def main() -> None:
    asked = options()
    server = start(asked)
    try:
        found = asyncio.run(measure(server, asked))
    finally:
        server.stop()
    print(show(found))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
