"""How often measurements lie inside the 90 % intervals, each source held against an interval that its own runs did not
make.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import Interval

Floats = npt.NDArray[np.float64]
FEWEST = 20
"""Residuals that an interval needs; 5 % tails of fewer say nothing."""
TAILS = (0.05, 0.045, 0.04, 0.035, 0.03, 0.025, 0.02)
"""Shares of residuals that may lie beyond each bound, the most first."""
SHARE = 0.9
"""What an interval promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """One held-out prediction."""

    grade: Grade
    kind: str
    """Of work, for step times; of counting, for memory."""
    source: str
    configuration: str
    ratio: float
    """Measured over predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An interval and the shares of measurements inside."""

    interval: Interval
    inside: float
    inside_new_source: float
    """Each source against the interval of all others; against the whole one where those are too few."""


def interval_of(ratios: Floats, tail: float = TAILS[0]) -> Interval:
    """The interval of measured over predicted values (at least ``FEWEST``), with the finite-sample correction.

    ``tail`` may lie beyond each bound. The prediction itself always lies inside.
    """
    ordered = np.sort(ratios)
    outside = math.floor(tail * (len(ordered) + 1))
    low, high = ordered[max(outside - 1, 0)], ordered[min(len(ordered) - outside, len(ordered) - 1)]
    return Interval(low=float(f"{min(low, 1.0):.3g}"), high=float(f"{max(high, 1.0):.3g}"), measurements=len(ordered))


def ratios_of(residuals: Sequence[Residual]) -> Floats:
    """The ratios; the median of re-runs of one configuration."""
    runs: dict[str, list[float]] = defaultdict(list)
    for item in residuals:
        runs[item.configuration].append(item.ratio)
    return np.array([np.median(ratios) for ratios in runs.values()])


def held_interval(members: Sequence[Residual]) -> Held:
    """The narrowest interval that holds ``SHARE`` of future cases, of which every second is of a source not yet seen.

    Runs of one source err alike, so that an interval that holds nine of ten of them all holds fewer of a new source's.
    """
    ratios = ratios_of(members)
    for tail in TAILS:
        found = interval_of(ratios, tail)
        inside = _inside(ratios, found) / len(ratios)
        unseen = _inside_new_source(members, found, tail)
        if (inside + unseen) / 2 >= SHARE:
            break
    return Held(interval=found, inside=inside, inside_new_source=unseen)


def coverage_rows(residuals: Sequence[Residual]) -> list[dict[str, Any]]:
    """A row for each grade and kind: the interval its residuals make and the share inside; then one for each grade
    as a whole, all kinds by their own intervals.

    Kinds with fewer than ``FEWEST`` residuals are left out.
    """
    rows = []
    for grade in Grade:
        own = [item for item in residuals if item.grade is grade]
        counted = []
        for kind in sorted({item.kind for item in own}):
            members = [item for item in own if item.kind == kind]
            if len(ratios_of(members)) >= FEWEST:
                counted.append(_row(members) | {"grade": str(grade), "kind": kind})
        rows += counted
        if len(counted) > 1:
            rows.append(_together(counted) | {"grade": str(grade), "kind": "all"})
    return rows


def _row(members: Sequence[Residual]) -> dict[str, Any]:
    found = held_interval(members)
    return {
        "configurations": found.interval.measurements,
        "low": found.interval.low,
        "high": found.interval.high,
        "inside": float(f"{found.inside:.3g}"),
        "inside_new_source": float(f"{found.inside_new_source:.3g}"),
    }


def _inside_new_source(members: Sequence[Residual], whole: Interval, tail: float) -> float:
    inside, count = 0.0, 0
    for source in sorted({item.source for item in members}):
        others = ratios_of([item for item in members if item.source != source])
        held = ratios_of([item for item in members if item.source == source])
        inside += _inside(held, interval_of(others, tail) if len(others) >= FEWEST else whole)
        count += len(held)
    return inside / count


def _inside(ratios: Floats, interval: Interval) -> float:
    return float(np.sum((ratios >= interval.low) & (ratios <= interval.high)))


def _together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = np.array([row["configurations"] for row in rows])
    shares = {
        name: float(f"{np.average([row[name] for row in rows], weights=counts):.3g}")
        for name in ("inside", "inside_new_source")
    }
    return {"configurations": int(counts.sum()), "low": None, "high": None, **shares}
