"""How the crates are built: libraries that are compiled once hold no test that would then not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CRATES = sorted((Path(__file__).resolve().parents[2] / "crates").iterdir())


@pytest.mark.parametrize("crate", CRATES, ids=[crate.name for crate in CRATES])
def test_no_test_is_where_it_does_not_run(crate: Path) -> None:
    library = re.search(r"^\[lib\]\n((?:[^\[].*\n)*)", (crate / "Cargo.toml").read_text(), re.M)
    if not (library and re.search(r"^test *= *false", library[1], re.M)):
        return
    sources = sorted((crate / "src").rglob("*.rs"))
    assert sources
    inside = [str(file.relative_to(crate)) for file in sources if "cfg(test)" in file.read_text()]
    assert inside == [], "its Cargo.toml says `test = false`: tests go to tests/, or that line goes"
