"""How far predictions are off: averages, spread and sign of the errors, per group and overall, and how well layouts are
ranked inside a sweep. Re-runs of one configuration count once.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.validation.comparison import GROUPINGS, Comparison

Floats = npt.NDArray[np.float64]
MIN_SWEEP = 4
"""Runs that a sweep must have to rank anything."""
MIN_SPREAD = 1.07
"""Best over worst measured speed below which a sweep ranks the noise of its runs, not its layouts."""
_WORST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Errors of one group. All errors are fractions of the measured value, in step time or in memory."""

    cases: int
    configurations: int
    """Different configurations; every average below is over these."""
    mape: float
    """Mean absolute error."""
    median: float
    """Median absolute error."""
    p90: float
    """90th percentile of the absolute error."""
    bias: float
    """Mean signed error; below 0 the prediction is too fast, or too small."""
    coverage: float | None
    """Share of measurements inside the 90 % interval; None where there are no intervals."""
    worst: tuple[tuple[str, float], ...]
    """Ids and signed errors of the worst cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRanking:
    """How well the layouts of one sweep are ranked."""

    sweep: str
    cases: int
    spread: float
    """Best over worst measured speed."""
    spearman: float
    """Rank correlation of predicted and measured speed."""
    regret: float
    """What the pick loses: 1 - its measured speed over the best measured one."""

    @property
    def tells(self) -> bool:
        """Whether the layouts differ enough to rank them."""
        return self.spread >= MIN_SPREAD


def accuracy(comparisons: Sequence[Comparison]) -> Accuracy:
    """The errors of ``comparisons`` (at least one)."""
    members: dict[str, list[Comparison]] = defaultdict(list)
    for item in comparisons:
        members[item.membership.configuration].append(item)
    absolute = np.array([np.mean([abs(item.error) for item in items]) for items in members.values()])
    signed = np.array([np.mean([item.error for item in items]) for items in members.values()])
    inside = [share for items in members.values() if (share := _inside(items)) is not None]
    worst = sorted(comparisons, key=lambda item: -abs(item.error))[:_WORST]
    return Accuracy(
        cases=len(comparisons),
        configurations=len(members),
        mape=float(absolute.mean()),
        median=float(np.median(absolute)),
        p90=float(np.quantile(absolute, 0.9)),
        bias=float(signed.mean()),
        coverage=float(np.mean(inside)) if inside else None,
        worst=tuple((item.id, item.error) for item in worst),
    )


def errors_of(configurations: Sequence[str], errors: Floats) -> dict[str, Any]:
    """Mean, median, 90th percentile and bias of relative errors; re-runs of one configuration count once."""
    _, rows = np.unique(np.array(configurations), return_inverse=True)
    runs = np.bincount(rows)
    absolute, signed = np.bincount(rows, np.abs(errors)) / runs, np.bincount(rows, errors) / runs
    return {
        "mape": short(absolute.mean()),
        "median": short(np.median(absolute)),
        "p90": short(np.quantile(absolute, 0.9)),
        "bias": short(signed.mean()),
        "worst": short(np.abs(errors).max()),
    }


def short(value: float) -> float:
    """Four digits: what a record keeps of a number."""
    return float(f"{value:.4g}")


def _inside(items: Sequence[Comparison]) -> float | None:
    bounded = [item for item in items if item.low90 is not None and item.high90 is not None]
    if not bounded:
        return None
    return float(np.mean([item.low90 <= item.measured <= item.high90 for item in bounded]))  # type: ignore[operator]


def rankings(comparisons: Sequence[Comparison]) -> list[SweepRanking]:
    """The ranking of every sweep with at least ``MIN_SWEEP`` configurations, suspect runs apart from the others.

    Re-runs of one configuration are averaged first: a layout is chosen, not the container that it runs in.
    """
    sweeps: dict[tuple[str, bool], dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for item in comparisons:
        if item.membership.sweep and item.tokens_per_s_per_gpu is not None:
            runs = sweeps[item.membership.sweep, item.membership.trusted]
            runs[item.membership.configuration or item.id].append(item.tokens_per_s_per_gpu)
    found = []
    for (name, _), configurations in sweeps.items():
        if len(configurations) < MIN_SWEEP:
            continue
        speeds = np.array([np.mean(runs, axis=0) for runs in configurations.values()])
        measured, predicted = speeds[:, 0], speeds[:, 1]
        found.append(
            SweepRanking(
                sweep=name,
                cases=len(configurations),
                spread=float(measured.max() / measured.min()),
                spearman=spearman(measured, predicted),
                regret=float(1 - measured[np.argmax(predicted)] / measured.max()),
            )
        )
    return found


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 where one side is constant."""
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    spread = float(ranks_a.std() * ranks_b.std())
    if spread == 0:
        return 0.0
    return float(np.mean((ranks_a - ranks_a.mean()) * (ranks_b - ranks_b.mean())) / spread)


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def summary(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The accuracy document: time and memory apart; ``trusted`` cases, ``all`` cases, groups, sweeps."""
    document: dict[str, Any] = {}
    for topic, items in (
        ("time", [item for item in comparisons if not item.is_memory]),
        ("memory", [item for item in comparisons if item.is_memory]),
    ):
        trusted = [item for item in items if item.membership.trusted]
        document[topic] = {
            "trusted": asdict(accuracy(trusted)) if trusted else None,
            "all": asdict(accuracy(items)) if items else None,
            "groups": [group for name in GROUPINGS for group in _groups(name, items)],
        }
    document["ranking"] = _ranking(rankings(comparisons))
    return document


def _groups(grouping: str, items: Sequence[Comparison]) -> list[dict[str, Any]]:
    members: dict[tuple[str, bool], list[Comparison]] = defaultdict(list)
    for item in items:
        members[item.membership.labels[grouping], item.membership.trusted].append(item)
    return [
        {"by": grouping, "group": label, "trusted": trusted, **asdict(accuracy(group))}
        for (label, trusted), group in sorted(members.items(), key=lambda entry: (not entry[0][1], entry[0][0]))
    ]


def _ranking(sweeps: Sequence[SweepRanking]) -> dict[str, Any]:
    telling = [sweep for sweep in sweeps if sweep.tells]
    return {
        "sweeps": len(telling),
        "spearman_mean": float(np.mean([sweep.spearman for sweep in telling])) if telling else None,
        "regret_mean": float(np.mean([sweep.regret for sweep in telling])) if telling else None,
        "regret_max": max((sweep.regret for sweep in telling), default=None),
        "each": [asdict(sweep) | {"tells": sweep.tells} for sweep in sweeps],
    }
