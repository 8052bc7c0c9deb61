"""Loading from the hub: Ctrl-C at any moment, revisions, what is said when the hub does not help."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import rustymoshi
from golden_data import GOLDEN
from slow_hub import REPO, SlowHub

TINY = GOLDEN / "tiny-moshi"
MODEL = [sys.executable, "-c", f"import rustymoshi; rustymoshi.Model.load({REPO!r})"]
CODEC = [sys.executable, "-c", f"import rustymoshi; rustymoshi.Mimi.load({REPO!r})"]
INFO = [sys.executable, "-m", "rustymoshi", "info", "--model", REPO]


def environment(home: Path, hub: SlowHub) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "RUSTYMOSHI_"))}
    return kept | {"HF_HOME": str(home), "HF_ENDPOINT": hub.address}


def interrupted(command: list[str], env: dict[str, str], begun: Callable[[], object]) -> str:
    """Interrupts a command once it has begun to wait; what it said."""
    heard = lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None  # noqa: E731
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    try:
        begun()
        time.sleep(0.3)
        assert process.poll() is None, process.stderr and process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=5)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said or "Aborted" in said, said
    return said


@pytest.mark.parametrize("command", [MODEL, CODEC, INFO], ids=["Model.load", "Mimi.load", "info"])
def test_ctrl_c_ends_a_download_which_goes_on_the_next_time(command: list[str], tmp_path: Path) -> None:
    with SlowHub(TINY, "slow") as hub:
        env = environment(tmp_path, hub)
        interrupted(command, env, lambda: hub.asked.wait(60))
        kept = max(path.stat().st_size for path in tmp_path.rglob("*.part"))
        assert kept > 0
        hub.mood, hub.ranges = "well", []
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=60)
        assert hub.ranges[0] is not None and int(hub.ranges[0].removeprefix("bytes=").removesuffix("-")) >= kept


@pytest.mark.parametrize("mood", ["silent", "busy"])
def test_ctrl_c_ends_waiting_for_the_hub(mood: str, tmp_path: Path) -> None:
    with SlowHub(TINY, mood) as hub:
        interrupted(MODEL, environment(tmp_path, hub), lambda: hub.asked.wait(60))


def test_ctrl_c_ends_waiting_for_another_process(tmp_path: Path) -> None:
    etag = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
    blobs = tmp_path / "hub" / f"models--{REPO.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    with SlowHub(TINY, "well") as hub, (blobs / f"{etag}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def config_is_there() -> None:
            while not list(tmp_path.rglob("config.json")):
                time.sleep(0.05)

        interrupted(MODEL, environment(tmp_path, hub), config_is_there)


def test_a_model_in_the_cache_is_loaded_with_a_warning_of_what_the_hub_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SlowHub(TINY, "well") as hub:
        for name, value in environment(tmp_path, hub).items():
            monkeypatch.setenv(name, value)
        rustymoshi.Model.load(REPO)
    with pytest.warns(UserWarning, match=r"cannot reach .*cache"):
        rustymoshi.Model.load(REPO)
    with pytest.warns(UserWarning, match=r"cannot reach .*cache"):
        rustymoshi.Mimi.load(REPO)


def test_a_progress_that_fails_is_asked_no_more_and_the_download_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def progress(file: str, done: int, total: int) -> None:
        calls.append((file, done, total))
        raise LookupError("no bar here")

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with SlowHub(TINY, "well") as hub:
        for name, value in environment(tmp_path, hub).items():
            monkeypatch.setenv(name, value)
        rustymoshi.Model.load(REPO, progress=progress)
    assert calls == [("config.json", 0, (TINY / "config.json").stat().st_size)]


@pytest.mark.parametrize("revision", ["", "../../x", "a b", "/x", ".."])
def test_what_cannot_be_a_revision_is_refused(revision: str) -> None:
    for load in (rustymoshi.Model.load, rustymoshi.Mimi.load):
        with pytest.raises(ValueError, match="revision"):
            load(REPO, revision=revision)
        with pytest.raises(ValueError, match="revision"):
            load(str(TINY), revision="v1")
        with pytest.raises(ValueError, match=r"revision.*keep one"):
            load(f"{REPO}@v1", revision="v2")


@pytest.mark.parametrize(
    ("load", "file", "message"),
    [
        (rustymoshi.Model.load, "mimi.safetensors", "the codec Mimi alone"),
        (rustymoshi.Model.load, "tokenizer.model", "SentencePiece"),
        (rustymoshi.Mimi.load, "model.safetensors", "a language model"),
        (rustymoshi.Mimi.load, "tokenizer.model", "SentencePiece"),
    ],
)
def test_one_part_of_a_model_in_the_place_of_another_is_told(
    load: Callable[[Path], object], file: str, message: str
) -> None:
    with pytest.raises(rustymoshi.RustymoshiError, match=message) as error:
        load(TINY / file)
    assert "OpenOptions" not in str(error.value) and "the model failed" not in str(error.value)
