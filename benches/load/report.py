"""The figures of a run, as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

from caller import Caller, percentile


def milliseconds(values: list[float]) -> dict[str, float | None]:
    """p50, p95, p99 and the largest, in milliseconds."""
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    found = {name: percentile(values, part) for name, part in parts.items()}
    return {name: None if value is None else round(1000 * value, 2) for name, value in found.items()}


def summary(callers: list[Caller]) -> dict[str, Any]:
    """Over all callers, those refused included: what they did not hear is missing."""
    heard = [caller for caller in callers if caller.sent_at]
    expected = sum(caller.expected for caller in callers)
    received = sum(min(len(caller.replies), caller.expected) for caller in callers)
    factors = [caller.real_time_factor() for caller in callers]
    return {
        "callers": len(callers),
        "admitted": len(heard),
        "outcomes": dict(Counter(caller.outcome for caller in callers)),
        "seconds": round(max((caller.expected for caller in callers), default=0) * 0.08, 2),
        "send_lateness_ms": milliseconds([late for caller in heard for late in caller.lateness]),
        "slipped_frames": sum(caller.slipped for caller in heard),
        "interval_ms": milliseconds(list(chain.from_iterable(caller.intervals() for caller in heard))),
        "lag_ms": milliseconds(list(chain.from_iterable(caller.lags() for caller in heard))),
        "first_audio_ms": milliseconds([first for c in heard if (first := c.first_audio()) is not None]),
        "frames_expected": expected,
        "frame_deficit": expected - received,
        "real_time_factor": {"min": round(min(factors, default=0), 4), "mean": round(sum(factors) / len(factors), 4)},
        "underruns": sum(caller.underruns() for caller in heard),
    }


def table(found: dict[str, Any]) -> str:
    """One line for each figure; groups on one line."""
    rows = []
    for name, value in found.items():
        if isinstance(value, dict):
            value = "  ".join(f"{part} {'-' if inner is None else inner}" for part, inner in value.items())
        if not isinstance(value, list):
            rows.append(f"{name:22} {value}")
    return "\n".join(rows)
