"""Fits the 90 % intervals of predictions to residuals of cases that the predictions were not fitted to.

Split conformal prediction (Lei 2018, arXiv:1604.04173, section 2.2) on measured over predicted step times, a tail of
5 % on each side: of future cases like these, at least nine of ten lie inside.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import Interval, Intervals
from glmplan.software.catalog import load_stack
from glmplan.validation.calibrate import fitted_stack
from glmplan.validation.case import CaseInputs
from glmplan.validation.comparison import Comparison
from glmplan.validation.predict import Estimator, predict_step_times

Floats = npt.NDArray[np.float64]
FEWEST = 20
"""Residuals that a grade needs; 5 % tails of fewer say nothing."""
_TAIL = 0.05
_FOLDS = 3
_MOST_IN_GROUP = 24


def interval_of(ratios: Floats) -> Interval:
    """The interval of measured over predicted step times (at least ``FEWEST``), with the finite-sample correction.

    The prediction itself always lies inside.
    """
    ordered = np.sort(ratios)
    outside = math.floor(_TAIL * (len(ordered) + 1))
    low, high = ordered[max(outside - 1, 0)], ordered[min(len(ordered) - outside, len(ordered) - 1)]
    return Interval(low=float(f"{min(low, 1.0):.3g}"), high=float(f"{max(high, 1.0):.3g}"), measurements=len(ordered))


def fit_intervals(
    compared: Sequence[Comparison], cases: Sequence[CaseInputs], estimate: Estimator, *, before: Intervals, made_by: str
) -> Intervals:
    """The intervals of all grades: from ``compared`` as predicted, and for ``calibrated`` from cross-fits of ``cases``.

    Re-runs of a configuration count once. A grade with fewer than ``FEWEST`` residuals keeps what it had ``before``.
    """
    intervals = dict(before.step_time)
    for grade in Grade:
        ratios = _ratios([item for item in compared if item.grade == str(grade)])
        if grade is Grade.CALIBRATED and len(ratios) < FEWEST:
            ratios = cross_fitted_ratios(cases, estimate)
        if len(ratios) >= FEWEST:
            intervals[grade] = interval_of(ratios)
    return Intervals(made_by=made_by, step_time=intervals)


def cross_fitted_ratios(cases: Sequence[CaseInputs], estimate: Estimator, *, seed: int = 0) -> Floats:
    """Measured over predicted step times of cases, each predicted with constants fitted to others of its group.

    A group is a stack on a device.
    Groups of 8 cases or more, of each at most ``_MOST_IN_GROUP`` configurations drawn with ``seed``, in 3 folds.
    """
    groups: dict[tuple[str, str], dict[str, CaseInputs]] = defaultdict(dict)
    for case in cases:
        if case.trusted and case.time is not None:
            name = case.measurement.configuration or case.id
            groups[case.stack, case.cluster.device.name].setdefault(name, case)
    random = np.random.default_rng(seed)
    found: list[float] = []
    for (stack, _), members in sorted(groups.items()):
        chosen = [list(members.values())[i] for i in random.permutation(len(members))[:_MOST_IN_GROUP]]
        prior_s = predict_step_times(chosen, load_stack(stack), estimate)
        chosen = [case for case, seconds in zip(chosen, prior_s, strict=True) if np.isfinite(seconds) and seconds > 0]
        if len(chosen) < 8:
            continue
        for fold in range(_FOLDS):
            held, others = chosen[fold::_FOLDS], [c for i, c in enumerate(chosen) if i % _FOLDS != fold]
            fitted = fitted_stack(others, load_stack(stack), estimate)
            predicted = predict_step_times(held, fitted, estimate)
            found += [
                case.time.step_time_s / float(seconds)
                for case, seconds in zip(held, predicted, strict=True)
                if case.time is not None
            ]
    return np.array(found)


def _ratios(compared: Sequence[Comparison]) -> Floats:
    by_configuration: dict[str, list[float]] = defaultdict(list)
    for item in compared:
        if item.membership.trusted and not item.is_memory:
            by_configuration[item.membership.configuration].append(1.0 / (1.0 + item.error))
    return np.array([np.median(ratios) for ratios in by_configuration.values()])
