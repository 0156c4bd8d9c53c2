"""How often measurements lie inside the 90 % intervals, by grade, each source held against an interval that its own
runs did not make.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.cost.interval import Interval

Floats = npt.NDArray[np.float64]
FEWEST = 20
"""Residuals that an interval needs; 5 % tails of fewer say nothing."""
_TAIL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """One held-out prediction."""

    grade: str
    source: str
    configuration: str
    ratio: float
    """Measured over predicted."""


def interval_of(ratios: Floats) -> Interval:
    """The interval of measured over predicted values (at least ``FEWEST``), with the finite-sample correction.

    The prediction itself always lies inside.
    """
    ordered = np.sort(ratios)
    outside = math.floor(_TAIL * (len(ordered) + 1))
    low, high = ordered[max(outside - 1, 0)], ordered[min(len(ordered) - outside, len(ordered) - 1)]
    return Interval(low=float(f"{min(low, 1.0):.3g}"), high=float(f"{max(high, 1.0):.3g}"), measurements=len(ordered))


def ratios_by_grade(residuals: Sequence[Residual]) -> dict[str, Floats]:
    """Grade -> ratios; the median of re-runs of one configuration."""
    runs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item in residuals:
        runs[item.grade][item.configuration].append(item.ratio)
    return {grade: np.array([np.median(ratios) for ratios in by.values()]) for grade, by in runs.items()}


def coverage(residuals: Sequence[Residual]) -> dict[str, dict[str, Any]]:
    """Grade -> interval and the share of measurements inside it, with each source's own residuals left out.

    A source without enough residuals of others counts against the interval of all.
    """
    found: dict[str, dict[str, Any]] = {}
    for grade, ratios in sorted(ratios_by_grade(residuals).items()):
        if len(ratios) < FEWEST:
            continue
        own = [item for item in residuals if item.grade == grade]
        inside, count = 0.0, 0
        for source in sorted({item.source for item in own}):
            others = ratios_by_grade([item for item in own if item.source != source]).get(grade, np.zeros(0))
            interval = interval_of(others if len(others) >= FEWEST else ratios)
            held = ratios_by_grade([item for item in own if item.source == source])[grade]
            inside += float(np.sum((held >= interval.low) & (held <= interval.high)))
            count += len(held)
        whole = interval_of(ratios)
        found[grade] = {
            "configurations": len(ratios),
            "low": whole.low,
            "high": whole.high,
            "coverage": float(f"{np.mean((ratios >= whole.low) & (ratios <= whole.high)):.3g}"),
            "coverage_new_source": float(f"{inside / count:.3g}"),
        }
    return found
