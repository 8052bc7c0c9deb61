"""What a test needs of a machine beyond what the README asks for."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str, how: str) -> NoReturn:
    """Ends a test for want of something: in CI, which has everything, as a failure; elsewhere as skipped, with one line
    that says how to get it."""
    message = f"no {what}: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
