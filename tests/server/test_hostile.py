"""Random messages by the thousand: nobody else notices, and the server stays whole.

MOSHI_HOSTILE_MESSAGES says how many (default: 20,000), MOSHI_HOSTILE_SEED which.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MESSAGES = int(os.environ.get("MOSHI_HOSTILE_MESSAGES", "20000"))
SEED = os.environ.get("MOSHI_HOSTILE_SEED", "1")
#: Longest that the healthy callers talk: as long as the others rage, and a thousand messages a second are few.
SECONDS = 60 + MESSAGES // 100


def test_callers_among_random_messages_hear_every_frame(binary: Path, tmp_path: Path) -> None:
    told = tmp_path / "figures.json"
    driver = [sys.executable, str(ROOT / "benches" / "load"), "--binary", str(binary), "--callers", "3"]
    driver += ["--hostile", str(MESSAGES), "--seed", SEED, "--seconds", str(SECONDS), "--json", str(told)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MOSHI_")}
    run = subprocess.run(
        [*driver, "--", "--model", "loopback", "--max-sessions", "16"],
        env={**clean, "MOSHI_LOG": "warn"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads(told.read_text())
    print(run.stdout)
    assert figures["outcomes"] == {"finished": 3}
    assert figures["frames_expected"] > 0 and figures["frame_deficit"] == 0
    assert figures["real_time_factor"]["min"] == 1
    hostile = figures["hostile"]
    assert hostile["messages"] >= MESSAGES, "each was read: a ping after it was answered"
    odd = [name for name in hostile if name.startswith(("refused", "broken", "no answer", "never hung up"))]
    assert not odd, hostile
    assert "panicked" not in run.stderr, run.stderr
