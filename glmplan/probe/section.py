"""One section of the probe: a list of cases measured in order of worth until its share of the time is spent.

All ranks measure the same case at the same time, so that shared memory bandwidth and clock speed are in the numbers.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from glmplan.probe.ranks import Rank
from glmplan.probe.timing import MIN_REPEATS, Timing

CaseT = TypeVar("CaseT")
SPENT = -1.0
TOO_SLOW = -2.0
LARGEST_SHARE = 0.35
"""A case that would take more than this share of what is left is passed over: smaller ones tell more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured case: its columns and how long one call took."""

    columns: dict[str, str | int]
    timing: Timing


def measure_cases(
    cases: Sequence[CaseT],
    measure: Callable[[CaseT, float], Row | None],
    work: Callable[[CaseT], float],
    rank: Rank,
    budget_s: float,
    on_case: Callable[[float], None],
    at_least: int = 1,
) -> list[Row]:
    """The rows of as many ``cases`` as ``budget_s`` seconds allow; the first ``at_least`` in any case.

    ``measure(case, seconds to spend)`` gives a row, or None on a rank that takes no part. ``work`` is any quantity that
    a case's time grows with (FLOPs, bytes): it predicts which cases are too slow for what is left. ``on_case`` is told
    the share of the budget that is spent.
    """
    rows: list[Row] = []
    start = time.monotonic()
    seconds_per_work: list[float] = []
    for number, case in enumerate(cases):
        left_s = budget_s - (time.monotonic() - start)
        slice_s = _slice_s(left_s, len(cases) - number, _predicted(seconds_per_work, work(case)))
        verdict = rank.agree(slice_s if number >= at_least else max(slice_s, 0.0))
        if verdict == SPENT:
            break
        if verdict == TOO_SLOW:
            continue
        began = time.monotonic()
        row = measure(case, verdict)
        if row is not None:
            rows.append(row)
            seconds_per_work.append(row.timing.seconds / max(work(case), 1.0))
        else:
            seconds_per_work.append((time.monotonic() - began) / (MIN_REPEATS + 2) / max(work(case), 1.0))
        on_case(min(1.0, (time.monotonic() - start) / max(budget_s, 1e-9)))
    return rows


def _slice_s(left_s: float, cases_left: int, predicted_s: float) -> float:
    """Seconds to spend on the next case, or SPENT, or TOO_SLOW."""
    if left_s <= 0:
        return SPENT
    least_s = predicted_s * (MIN_REPEATS + 2)
    if least_s > left_s * LARGEST_SHARE and least_s > left_s / cases_left:
        return TOO_SLOW
    return left_s / cases_left


def _predicted(seconds_per_work: Sequence[float], work: float) -> float:
    """Seconds of a case by the better half of the rates seen: small cases, all overhead, must not scare off others."""
    return (
        statistics.quantiles(seconds_per_work, n=4, method="inclusive")[0] * work if len(seconds_per_work) > 1 else 0.0
    )


def spread_out(cases: Sequence[CaseT], first: Sequence[CaseT], seed: int) -> list[CaseT]:
    """``first``, then the other cases in an order that covers the whole range early (shuffled by ``seed``)."""
    others = [case for case in cases if case not in set(first)]
    random.Random(seed).shuffle(others)
    return [*first, *others]


def over_ranks(rows_of_ranks: Sequence[Sequence[Row]]) -> list[Row]:
    """One row a case: the median time over the ranks that measured it, the widest spread."""
    by_case: dict[tuple[tuple[str, str | int], ...], list[Timing]] = {}
    for rows in rows_of_ranks:
        for row in rows:
            by_case.setdefault(tuple(row.columns.items()), []).append(row.timing)
    return [
        Row(
            columns=dict(case),
            timing=Timing(
                seconds=statistics.median(timing.seconds for timing in timings),
                spread_fraction=max(timing.spread_fraction for timing in timings),
                samples=min(timing.samples for timing in timings),
            ),
        )
        for case, timings in by_case.items()
    ]
