"""The figures of a run, as JSON and as a table, and what they must be."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

from caller import RESERVES, Caller
from clock import Clock

FRAME_MS = 80.0
#: A driver that sends later than this (p99) measures itself.
LATE_MS = 10.0


def percentile(ordered: list[float], part: float) -> float | None:
    """The value that `part` of all do not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def milliseconds(values: list[float]) -> dict[str, float | None]:
    """p50, p95, p99 and the largest, in milliseconds."""
    parts, ordered = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}, sorted(values)
    found = {name: percentile(ordered, part) for name, part in parts.items()}
    return {name: None if value is None else round(1000 * value, 2) for name, value in found.items()}


def outcomes(callers: list[Caller]) -> dict[str, int]:
    """How many ended how."""
    return dict(Counter(caller.outcome for caller in callers))


def summary(callers: list[Caller], clock: Clock) -> dict[str, Any]:
    """Over all callers, those refused included: what they did not hear is missing."""
    heard = [caller for caller in callers if caller.sent_at]
    expected = sum(caller.expected for caller in callers)
    received = sum(min(len(caller.arrived), caller.expected) for caller in callers)
    factors = [caller.real_time_factor() for caller in callers]
    late = milliseconds(list(clock.lateness))
    return {
        "callers": len(callers),
        "admitted": len(heard),
        "outcomes": outcomes(callers),
        "seconds": round(max((caller.expected for caller in callers), default=0) * 0.08, 2),
        "send_lateness_ms": late,
        "slips": clock.slips,
        "driver_bound": clock.slips > 0 or (late["p99"] or 0) > LATE_MS,
        "interval_ms": milliseconds(list(chain.from_iterable(caller.intervals() for caller in heard))),
        "lag_ms": milliseconds(list(chain.from_iterable(caller.lags() for caller in heard))),
        "first_audio_ms": milliseconds([first for c in heard if (first := c.first_audio()) is not None]),
        "frames_expected": expected,
        "frame_deficit": expected - received,
        "real_time_factor": {"min": round(min(factors, default=0), 4), "mean": round(sum(factors) / len(factors), 4)},
        "underruns": {f"{1000 * r:.0f}_ms": sum(caller.underruns(r) for caller in heard) for r in RESERVES},
    }


def checks(found: dict[str, Any], neighbours: bool) -> dict[str, dict[str, Any]]:
    """What a server must do: figure, limit, and whether it is met. The first four say whether the callers fit."""
    step = found["step_ms"]["p99"]
    table = {
        "tick_p99_ms": (found["tick_ms"]["p99"], FRAME_MS),
        "refused": (found["callers"] - found["admitted"], 0),
        "frame_deficit": (found["frame_deficit"], 0),
        "underruns": (found["underruns"]["80_ms"], 0),
        "added_p99_ms": (found["added_ms"]["p99"], 10.0),
        "lag_p99_ms": (found["lag_ms"]["p99"], None if step is None else round(FRAME_MS + step + 20, 2)),
        "first_audio_max_ms": (found["first_audio_ms"]["max"], 200.0),
    }
    if neighbours or "hostile" in found:
        table["largest_gap_ms"] = (found["interval_ms"]["max"], 200.0)
    return {
        name: {"found": value, "limit": limit, "met": value is not None and limit is not None and value <= limit}
        for name, (value, limit) in table.items()
    }


#: The checks that decide whether so many callers fit.
FIT = ("tick_p99_ms", "refused", "frame_deficit", "underruns")


def misfits(found: dict[str, Any]) -> list[str]:
    """Which of [`FIT`] failed; none if the callers fit."""
    return [name for name in FIT if not found["checks"][name]["met"]]


def table(found: dict[str, Any]) -> str:
    """One line for each figure; groups on one line."""
    rows = []
    for name, value in found.items():
        if name == "checks":
            rows += [f"{'' if c['met'] else 'NOT '}met: {n} {c['found']} <= {c['limit']}" for n, c in value.items()]
            continue
        if isinstance(value, dict):
            value = "  ".join(f"{part} {'-' if inner is None else inner}" for part, inner in value.items())
        if not isinstance(value, list):
            rows.append(f"{name:22} {value}")
    return "\n".join(rows)
