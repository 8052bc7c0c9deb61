"""What the repository holds tells nothing of the machines on which it was made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from needs import missing

ROOT = Path(__file__).resolve().parents[2]
#: Where people and build machines keep their files, on any system.
FOLDERS = (rb"/home/", rb"/root/", rb"/work/", rb"/tmp/", rb"/Users/", rb"/mnt/", rb"/builds/", rb"/var/folders/",
           rb"/private/", rb"/github/", rb"/workspace/", rb"/data/", rb"/scratch/", rb"/srv/",
           rb"[A-Za-z]:\\(?:Users|Documents and Settings)\\")  # fmt: skip
#: A file's or a folder's name in one of them, in bytes or in two bytes a character.
PATH = re.compile(rb"(?:" + b"|".join(FOLDERS) + rb")[\w.~-]+")


def paths_in(content: bytes) -> list[str]:
    """Absolute paths in a file that is no text; what people write down as examples is not meant."""
    if b"\0" not in content and _is_text(content):
        return []
    readings = (content, content.replace(b"\0", b""))
    return [found.decode(errors="replace") for reading in readings for found in PATH.findall(reading)]


def _is_text(content: bytes) -> bool:
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
