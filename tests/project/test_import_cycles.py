"""How the files of a crate know each other: at most two in a circle, and some not at all.

A larger circle is one file cut in pieces: none of them can be read, tested or moved without the others.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rust_imports import Crate, circles

CRATES = sorted(path for path in (Path(__file__).resolve().parents[2] / "crates").iterdir() if (path / "src").is_dir())
SERVER = next(crate for crate in CRATES if crate.name == "moshi-backend")

LARGEST = 2
"""Files that may know each other in a circle: a type and its builder, say."""

EXCEPTIONS: dict[str, str] = {}
"""Circles that may be larger: the crate and the first of their files, and why."""


@pytest.mark.parametrize("folder", CRATES, ids=[crate.name for crate in CRATES])
def test_no_more_than_two_files_know_each_other_in_a_circle(folder: Path) -> None:
    crate = Crate(folder)
    found = {crate.name(circle[0]): [crate.name(module) for module in circle] for circle in circles(crate.graph)}
    large = {f"{folder.name}/{first}": files for first, files in found.items() if len(files) > LARGEST}
    unknown = {first: files for first, files in large.items() if first not in EXCEPTIONS}
    assert unknown == {}, "move what they share into a file of its own, which uses none of them"
    gone = [first for first in EXCEPTIONS if first.startswith(f"{folder.name}/") and first not in large]
    assert gone == [], "these circles are gone: take them off the list"


@pytest.mark.parametrize(
    ("room", "others"), [("chat", {"realtime"}), ("realtime", {"chat"}), ("call", {"chat", "realtime"})]
)
def test_a_wire_of_the_server_stands_on_the_call_and_knows_no_other_wire(room: str, others: set[str]) -> None:
    crate = Crate(SERVER)
    taken = [
        f"{crate.name(module)} -> {crate.name(other)}"
        for module, used in crate.graph.items()
        for other in used
        if module[:1] == (room,) and other[:1] and other[0] in others
    ]
    assert taken == [], "what two wires share belongs into call/, or into websocket.rs"


def test_what_a_call_is_knows_no_socket() -> None:
    sources = sorted((SERVER / "src" / "call").rglob("*.rs"))
    assert sources
    socket = re.compile(
        r"\b(?:axum|axum_server|tungstenite|tokio_tungstenite|tokio::net|WebSocket|TcpStream|HeaderMap)\b"
    )
    for source in sources:
        code = re.sub(r"//[^\n]*", "", source.read_text())
        assert socket.search(code) is None, f"{source.name}: sockets belong to the wires that stand on call/"


def test_paths_are_followed_to_the_file_in_which_a_thing_is_written(tmp_path: Path) -> None:
    files = {
        "lib.rs": "mod a; mod b; mod room; pub use a::A; #[cfg(test)] mod tests { use crate::b::B; }",
        "a.rs": "use crate::room::{Inner as Other, other::{self, Far}}; pub struct A; // use crate::b::B;",
        "b.rs": 'use super::A; pub struct B; fn f() { let _ = ("use crate::room::Inner", crate::room::helper()); }',
        "room/mod.rs": "mod inner; pub mod other; pub(crate) use inner::Inner; pub(crate) fn helper() {}",
        "room/inner.rs": "use super::helper; pub struct Inner; #[path_of(crate::b::B)] struct Attribute;",
        "room/other.rs": "pub struct Far; mod inside { use super::Far; pub(in super::super) fn f() {} }",
    }
    for name, text in files.items():
        file = tmp_path / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    crate = Crate(tmp_path)
    used = {crate.name(module): sorted(crate.name(other) for other in used) for module, used in crate.graph.items()}
    assert used == {
        "lib.rs": [],
        "a.rs": ["room/inner.rs", "room/other.rs"],
        "b.rs": ["a.rs", "room/mod.rs"],
        "room/mod.rs": [],
        "room/inner.rs": ["b.rs", "room/mod.rs"],
        "room/other.rs": [],
    }
    assert [[crate.name(module) for module in circle] for circle in circles(crate.graph)] == [
        ["a.rs", "b.rs", "room/inner.rs"]
    ]
