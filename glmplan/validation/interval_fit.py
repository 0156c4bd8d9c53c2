"""The 90 % intervals of predictions from residuals of cases that the predictions were not fitted to.

Split conformal prediction (Lei 2018, arXiv:1604.04173, section 2.2) on measured over predicted values, in every grade
and kind by itself (Mondrian). The tail on each side is 5 %, or less where sources err unlike each other: of future
cases, half of them from sources not among these, nine of ten lie inside (``coverage.held_interval``).
"""

from collections.abc import Mapping, Sequence

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import COUNTINGS, Counting, Interval, Intervals, Work
from glmplan.validation.coverage import FEWEST, Residual, held_interval, ratios_of


def fit_intervals(
    times: Sequence[Residual], memory: Sequence[Residual], *, before: Intervals, made_by: str
) -> Intervals:
    """The intervals of all grades and kinds; a worse grade is never narrower than a better one.

    Re-runs of a configuration count once. Step times of a kind with fewer than ``FEWEST`` residuals keep what they had
    ``before``. Memory does not: see ``_memory``.
    """
    step_time: dict[Grade, dict[Work, Interval]] = {}
    better: Mapping[Work, Interval] = {}
    for grade in Grade:
        found = {}
        for work in Work:
            own = [item for item in times if (item.grade, item.kind) == (grade, work)]
            now = _interval(own) or before.step_time[grade][work]
            found[work] = _not_narrower(now, better.get(work))
        step_time[grade] = better = found
    return Intervals(made_by=made_by, step_time=step_time, memory=_memory(memory, before))


def _memory(residuals: Sequence[Residual], before: Intervals) -> dict[Counting, dict[Grade, Interval]]:
    """The intervals of every way of counting.

    Few sources count memory, so that a grade with fewer than ``FEWEST`` residuals takes those of the better grades as
    well, and a way of counting with fewer in all those of the next wider one (what the allocator reserves: what the
    driver shows). Kernel tables, which the lowest grade lacks, do not move memory.
    """
    found: dict[Counting, dict[Grade, Interval]] = {}
    for place, counting in enumerate(COUNTINGS):
        counted = _enough(residuals, COUNTINGS[place:])
        pool: list[Residual] = []
        by_grade: dict[Grade, Interval] = {}
        better: Interval | None = None
        for grade in Grade:
            own = [item for item in counted if item.grade is grade]
            pool += own
            now = _interval(own) or _interval(pool) or before.memory[counting][grade]
            by_grade[grade] = better = _not_narrower(now, better)
        found[counting] = by_grade
    return found


def _enough(residuals: Sequence[Residual], countings: Sequence[Counting]) -> list[Residual]:
    """The residuals of the first of ``countings``, and of as many of the next as make ``FEWEST``."""
    counted: list[Residual] = []
    for counting in countings:
        counted += [item for item in residuals if item.kind == counting]
        if len(ratios_of(counted)) >= FEWEST:
            break
    return counted


def _interval(residuals: Sequence[Residual]) -> Interval | None:
    """None where there are too few."""
    return held_interval(residuals).interval if len(ratios_of(residuals)) >= FEWEST else None


def _not_narrower(interval: Interval, than: Interval | None) -> Interval:
    if than is None:
        return interval
    return interval.model_copy(update={"low": min(interval.low, than.low), "high": max(interval.high, than.high)})
