import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.probe.ranks import lone_rank
from glmplan.probe.section import Row, measure_cases, over_ranks, spread_out
from glmplan.probe.timing import Timing

RANK = lone_rank(torch.device("cpu"))


def row(case: int, seconds: float, spread: float = 0.0) -> Row:
    return Row(columns={"case": case}, timing=Timing(seconds=seconds, spread_fraction=spread, samples=3))


def measured(cases: list[int], *, budget_s: float, rate: float, at_least: int = 1) -> list[int]:
    """The cases that are measured when a case of work w claims to take w / rate seconds."""
    rows = measure_cases(
        cases, lambda case, slice_s: row(case, case / rate), float, RANK, budget_s, lambda done: None, at_least
    )
    return [int(measured_row.columns["case"]) for measured_row in rows]


def test_everything_is_measured_when_there_is_time() -> None:
    assert measured([3, 1, 2], budget_s=60, rate=1e6) == [3, 1, 2]


def test_only_the_first_cases_are_measured_without_time() -> None:
    assert measured([3, 1, 2, 5], budget_s=0, rate=1e6, at_least=2) == [3, 1]


def test_a_case_that_would_take_too_long_is_passed_over_and_smaller_ones_are_not() -> None:
    assert measured([1, 1, 1000, 2], budget_s=5, rate=10) == [1, 1, 2]


def test_a_slice_is_an_equal_share_of_what_is_left() -> None:
    slices: list[float] = []

    def measure(case: int, slice_s: float) -> Row:
        slices.append(slice_s)
        return row(case, 1e-9)

    measure_cases([1, 2, 3, 4], measure, float, RANK, 8.0, lambda done: None)
    assert slices == pytest.approx([2, 8 / 3, 4, 8], rel=0.02)


def test_a_rank_without_a_part_gives_no_row() -> None:
    assert measure_cases([1, 2], lambda case, slice_s: None, float, RANK, 5.0, lambda done: None) == []


@settings(deadline=None)
@given(cases=st.sets(st.integers(), min_size=1), seed=st.integers(), data=st.data())
def test_spreading_out_keeps_every_case_once(cases: set[int], seed: int, data: st.DataObject) -> None:
    first = data.draw(st.lists(st.sampled_from(sorted(cases)), unique=True))
    order = spread_out(sorted(cases), first, seed)
    assert order[: len(first)] == first
    assert sorted(order) == sorted(cases)
    assert order == spread_out(sorted(cases), first, seed)


def test_ranks_are_joined_by_the_median_time_and_the_widest_spread() -> None:
    joined = over_ranks([[row(1, 1.0, 0.1), row(2, 5.0)], [row(1, 2.0, 0.3)], [row(1, 9.0, 0.2)]])
    assert [(one.columns["case"], one.timing.seconds, one.timing.spread_fraction) for one in joined] == [
        (1, 2.0, 0.3),
        (2, 5.0, 0.0),
    ]
