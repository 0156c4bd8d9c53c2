"""Designs that no other beats in every goal, and the volume they dominate. Less is better everywhere."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def front_rows(values: npt.ArrayLike) -> list[int]:
    """Rows that no other row dominates (as good in every column, better in one); of equal rows the first.

    >>> front_rows([[1, 3], [2, 2], [3, 3], [2, 2]])
    [0, 1]
    """
    points = np.asarray(values, dtype=np.float64)
    kept = []
    for row, point in enumerate(points):
        no_worse = (points <= point).all(axis=1)
        better = no_worse & (points < point).any(axis=1)
        earlier_equal = (points[:row] == point).all(axis=1)
        if not better.any() and not earlier_equal.any():
            kept.append(row)
    return kept


def hypervolume(values: npt.ArrayLike, ideal: Sequence[float], nadir: Sequence[float]) -> float:
    """The volume that ``values`` dominate up to a tenth beyond ``nadir``, with ``ideal`` to ``nadir`` as unit.

    The hypervolume indicator (Zitzler and Thiele 1998, DOI 10.1007/BFb0056872), on goals scaled to one range. A goal
    in which ideal and nadir agree is left out.
    """
    from optuna._hypervolume import compute_hypervolume

    low, high = np.asarray(ideal, dtype=np.float64), np.asarray(nadir, dtype=np.float64)
    varied = high > low
    if not varied.any():
        return 1.0
    scaled = (np.asarray(values, dtype=np.float64)[:, varied] - low[varied]) / (high - low)[varied]
    reference = np.full(int(varied.sum()), 1.1)
    inside = scaled[(scaled < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    return float(compute_hypervolume(inside[front_rows(inside)], reference))
