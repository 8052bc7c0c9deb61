"""The stubs are true: names, signatures and docstrings of the native module."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import rustymoshi
from rustymoshi import _native


def test_stubs_agree_with_the_module() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "rustymoshi._native", "--ignore-disjoint-bases"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_everything_public_is_documented() -> None:
    for name in rustymoshi.__all__:
        item = getattr(rustymoshi, name)
        if not inspect.isclass(item):
            continue
        assert inspect.getdoc(item), name
        for method in (m for m in vars(item) if not m.startswith("_")):
            assert inspect.getdoc(getattr(item, method)), f"{name}.{method}"


def test_the_examples_in_the_docstrings_run() -> None:
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for item in (rustymoshi, rustymoshi.Answer, _native.Model, _native.StreamingSession, _native.Mimi):
        for test in finder.find(item, name=getattr(item, "__name__", "?"), module=False):
            runner.run(test)
    assert runner.summarize().failed == 0
    assert runner.summarize().attempted > 0
