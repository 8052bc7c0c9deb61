"""What the repository holds tells nothing of the machines on which it was made."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import missing

ROOT = Path(__file__).resolve().parents[2]
#: Where people and build machines keep their files, on any system.
FOLDERS = [f"/{folder}/" for folder in (
    "home", "root", "work", "tmp", "Users", "mnt", "builds", "var/folders", "private", "github", "workspace", "data",
    "scratch", "srv")]  # fmt: skip
FOLDERS += [":\\Users\\", ":\\Documents and Settings\\"]
#: As they are written in files: one byte a character, or two.
WRITTEN = [(folder.encode(how), how) for folder in FOLDERS for how in ("ascii", "utf-16-le")]


def paths_in(content: bytes) -> list[str]:
    """Absolute paths in a file that is no text; what people write down as examples is not meant."""
    if b"\0" not in content and is_text(content):
        return []
    return [path for folder, how in WRITTEN for path in paths_below(folder, how, content)]


def paths_below(folder: bytes, how: str, content: bytes) -> Iterator[str]:
    """Names in one of the folders."""
    at = content.find(folder)
    while at >= 0:
        path = content[at : at + 200].decode(how, errors="replace")
        # Behind a name it is no folder of the machine but one of an archive's own.
        inside = folder[:1] == b"/" and content[max(at - 1, 0) : at].isalnum()
        # The folder's name alone happens by chance in random numbers; a name behind it does not.
        name = re.match(r"[\w.~-]+", path[len(folder.decode(how)) :], re.ASCII)
        if name and not inside:
            yield folder.decode(how) + name[0]
        at = content.find(folder, at + 1)


def is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_no_binary_file_tells_where_it_was_made() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        missing("list of the project's files", "it is git's, in a clone of the repository")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert ROOT / "models" / "default" / "tokenizer.model" in files
    told = {str(file.relative_to(ROOT)): paths_in(file.read_bytes()) for file in files if file.is_file()}
    assert {name: paths for name, paths in told.items() if paths} == {}


@pytest.mark.parametrize(
    "path",
    ["/root/.cache/training/tokenizer", "/home/me/model", "/tmp/w/gold", "/Users/me/x", "/work/data", r"C:\Users\me\x"],
)
def test_a_path_is_found_in_what_is_no_text(path: str) -> None:
    assert paths_in(b"\x0a\x00\x12" + path.encode() + b"\x18\x02")
    assert paths_in(b"\xff\xfe" + path.encode("utf-16-le")), "as Windows writes it"
    assert not paths_in(f"save it as {path}, say".encode()), "a text may give an example"
