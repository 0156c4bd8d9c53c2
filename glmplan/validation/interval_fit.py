"""The 90 % intervals of predictions from residuals of cases that the predictions were not fitted to.

Split conformal prediction (Lei 2018, arXiv:1604.04173, section 2.2) on measured over predicted step times, a tail of
5 % on each side: of future cases like these, at least nine of ten lie inside.
"""

from collections.abc import Sequence

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import Intervals
from glmplan.validation.coverage import FEWEST, Residual, interval_of, ratios_by_grade


def fit_intervals(residuals: Sequence[Residual], *, before: Intervals, made_by: str) -> Intervals:
    """The intervals of all grades; a worse grade is never narrower than a better one.

    Re-runs of a configuration count once. A grade with fewer than ``FEWEST`` residuals keeps what it had ``before``.
    """
    ratios = ratios_by_grade(residuals)
    intervals = dict(before.step_time)
    better = None
    for grade in Grade:
        found = ratios.get(str(grade))
        if found is not None and len(found) >= FEWEST:
            intervals[grade] = interval_of(found)
        if better is not None:
            now = intervals[grade]
            intervals[grade] = now.model_copy(
                update={"low": min(now.low, intervals[better].low), "high": max(now.high, intervals[better].high)}
            )
        better = grade
    return before.model_copy(update={"made_by": made_by, "step_time": intervals})
