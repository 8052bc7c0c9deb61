"""Golden data and models for the tests of the package."""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import Golden


@pytest.fixture(scope="session", params=["tiny-moshi", "tiny-variant"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="session")
def moshi() -> Golden:
    return Golden("tiny-moshi")


@pytest.fixture(scope="session")
def stt() -> Golden:
    return Golden("tiny-stt")


@pytest.fixture(scope="session", params=["tiny-hibiki", "tiny-hibiki/zero"])
def hibiki(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="session")
def personaplex() -> Golden:
    return Golden("tiny-personaplex")


@pytest.fixture
def speech(moshi: Golden) -> np.ndarray:
    """Ten seconds of a voice at 24 kHz."""
    return moshi["pcm_in"]
