"""The load driver of `benches/load`: what it finds must be right before any figure is."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = Path(__file__).resolve().parents[2] / "benches" / "load"
sys.path.insert(0, str(LOAD))
import speech  # noqa: E402
from caller import Caller  # noqa: E402
from report import checks  # noqa: E402
from run import Wish  # noqa: E402
from search import Search, largest  # noqa: E402
from server import Server  # noqa: E402


@pytest.mark.parametrize("most", [1, 2, 7, 16])
def test_the_search_finds_every_limit(most: int) -> None:
    for limit in range(most + 1):
        tried: list[int] = []

        async def fits(callers: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(callers)
            return callers <= limit

        assert asyncio.run(largest(fits, most)) == limit
        assert len(tried) == len(set(tried)) <= 10 and max(tried) <= most


def test_who_kept_the_number_down_is_told() -> None:
    search = Search(Server(""), Wish(1, 1), most=8)
    assert search.bound_by(8, []) == "--most 8"
    trial = {"callers": 5, "misfits": ["underruns"], "driver_bound": False}
    search.trials = [{"callers": 4, "misfits": [], "driver_bound": True}, trial]
    assert search.bound_by(4, []) == "server"
    assert search.bound_by(3, [trial | {"callers": 4, "driver_bound": True}]) == "driver"


def test_replies_are_told_apart_by_the_time_line_of_their_pages() -> None:
    pages = speech.page(b"OggS" * 90, 2, 1_920) + speech.page(b"x" * 30, 3, 3_840)
    assert speech.reply_frame(b"\x01" + speech.headers()) is None
    assert speech.reply_frame(b"\x01" + pages) == 0
    assert speech.reply_frame(speech.script(1)[9]) == 9


def test_players_run_dry_when_replies_are_late() -> None:
    caller = Caller("", 5)
    caller.sent_at.extend(0.08 * at for at in range(5))
    caller.arrived.extend([0.10, 0.18, 0.31, 0.34])
    caller.answers.extend([0, 1, 2, 3])
    assert [caller.underruns(reserve) for reserve in (0.08, 0.04)] == [0, 1]
    assert caller.lags() == pytest.approx([0.10, 0.10, 0.15, 0.10])
    assert caller.expected == 4 and caller.real_time_factor() == 1


def test_a_run_counts_those_who_were_refused(binary: Path, tmp_path: Path) -> None:
    told = tmp_path / "run.json"
    command = [sys.executable, str(LOAD), "--binary", str(binary), "--callers", "3", "--seconds", "2", "--json", told]
    server = ["--", "--model", "loopback", "--max-sessions", "2"]
    subprocess.run([*command, *server], check=True, capture_output=True, timeout=60)
    found = json.loads(told.read_text())
    assert (found["callers"], found["admitted"]) == (3, 2)
    assert found["outcomes"]["finished"] == 2
    assert any(outcome.startswith("refused: 503") for outcome in found["outcomes"])
    assert found["frame_deficit"] >= found["frames_expected"] / 3
    assert not found["checks"]["refused"]["met"] and not found["checks"]["frame_deficit"]["met"]
    assert found["added_ms"]["p99"] is not None and found["memory_mib"]["end"] > 0
    assert checks(found, neighbours=True).keys() >= {"largest_gap_ms"}
