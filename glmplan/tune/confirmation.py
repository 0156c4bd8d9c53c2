"""Whether the best trial is really faster: runs of the starting plan and of the best in turn, compared pair by pair."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from glmplan.plan.execution import Gain

MIN_PAIRS = 3
# Student's t, 95 % one-sided (90 % two-sided), by degrees of freedom (Fisher and Yates 1938, table III).
_T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
_T95_MANY = 1.812
"""Beyond the table: that of ten degrees, which errs on the wide side."""

Timed = Callable[[str], float | None]
"""Runs ``start`` or ``best`` once more; its step time, or None when there is no time left or it failed."""


def gain_of(start_s: Sequence[float], best_s: Sequence[float]) -> Gain:
    """The gain of equally many runs, pair by pair.

    With r_i = ln(best_i / start_i) over n pairs, mean m and standard deviation s, the fraction saved is 1 - exp(m), its
    interval 1 - exp(m -+ t s / sqrt(n)) (Student 1908). Pairs are runs next to each other in time, so that a slow
    drift of the machine falls out.

    >>> gain_of([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]).fraction
    0.5
    """
    ratios = [math.log(best / start) for start, best in zip(start_s, best_s, strict=True)]
    count = len(ratios)
    mean = statistics.fmean(ratios)
    t = _T95[count - 2] if count - 2 < len(_T95) else _T95_MANY
    half = t * statistics.stdev(ratios) / math.sqrt(count)
    return Gain(
        fraction=1.0 - math.exp(mean),
        low90_fraction=1.0 - math.exp(mean + half),
        high90_fraction=1.0 - math.exp(mean - half),
        pairs=count,
        noise_fraction=max(_spread(start_s), _spread(best_s)),
    )


def _spread(times_s: Sequence[float]) -> float:
    return (max(times_s) - min(times_s)) / 2.0 / statistics.median(times_s)


def alternate(run: Timed, done: int, pairs: int) -> Iterator[tuple[float, float]]:
    """Step times of (``start``, ``best``) of the pairs after the first ``done``, as they come.

    The order within a pair turns from pair to pair: start, best, best, start, ... Ends early when a run gives no time.
    """
    for index in range(done, pairs):
        order = ("start", "best") if index % 2 == 0 else ("best", "start")
        times = {}
        for which in order:
            seconds = run(which)
            if seconds is None:
                return
            times[which] = seconds
        yield times["start"], times["best"]
