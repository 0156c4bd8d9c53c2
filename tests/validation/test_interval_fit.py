"""Intervals from residuals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import COUNTINGS, Interval, Intervals, Work
from glmplan.validation.coverage import Residual, coverage_rows, held_interval, interval_of, ratios_of
from glmplan.validation.interval_fit import fit_intervals

WIDE = Interval(low=0.5, high=2.0, measurements=0)
BEFORE = Intervals(
    made_by="before",
    step_time={grade: dict.fromkeys(Work, WIDE) for grade in Grade},
    memory={counting: dict.fromkeys(Grade, WIDE) for counting in COUNTINGS},
)


def residuals(grade: Grade, kind: str, ratios: list[float], source: str = "s") -> list[Residual]:
    return [
        Residual(grade=grade, kind=kind, source=source, configuration=f"{source}{i}", ratio=ratio)
        for i, ratio in enumerate(ratios)
    ]


def spread(low: float, high: float, count: int) -> list[float]:
    return [float(x) for x in np.linspace(low, high, count)]


def test_the_interval_leaves_out_a_twentieth_on_each_side() -> None:
    # 99 residuals: floor(0.05 * 100) = 5 may lie beyond each bound, the bound itself the fifth from the end.
    found = interval_of(np.linspace(0.51, 1.49, 99))
    assert (found.low, found.high) == pytest.approx((0.55, 1.45))
    assert found.measurements == 99


@given(st.lists(st.floats(0.2, 5.0), min_size=20, max_size=200))
@settings(deadline=None)
def test_nine_tenths_lie_inside_and_the_prediction_too(ratios: list[float]) -> None:
    found = interval_of(np.array(ratios))
    inside = np.mean([found.low * 0.99 <= ratio <= found.high * 1.01 for ratio in ratios])
    assert inside >= 0.9
    assert found.low <= 1.0 <= found.high


def test_future_runs_of_the_same_law_lie_inside_nine_times_in_ten() -> None:
    draws = np.random.default_rng(7).lognormal(0.05, 0.15, size=(400, 120))
    inside = []
    for row in draws:
        found = interval_of(row[:100])
        inside.append(np.mean((row[100:] >= found.low) & (row[100:] <= found.high)))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_reruns_of_a_configuration_count_once() -> None:
    runs = [
        Residual(grade=Grade.TRANSFERRED, kind="dense", source="s", configuration="a", ratio=r) for r in (1.0, 1.2, 1.1)
    ]
    assert ratios_of(runs).tolist() == [1.1]


def test_kinds_without_residuals_keep_their_interval_and_the_others_do_not() -> None:
    found = fit_intervals(
        residuals(Grade.TRANSFERRED, "dense", spread(0.4, 2.6, 50)), [], before=BEFORE, made_by="a test"
    )
    assert found.made_by == "a test"
    assert found.step_time[Grade.TRANSFERRED][Work.DENSE].measurements == 50
    assert found.step_time[Grade.TRANSFERRED][Work.EXPERTS] == WIDE
    assert found.step_time[Grade.CALIBRATED][Work.DENSE] == WIDE


def test_a_worse_grade_is_never_narrower() -> None:
    wide = residuals(Grade.CALIBRATED, "dense", spread(0.6, 1.6, 40))
    narrow = residuals(Grade.TRANSFERRED, "dense", spread(0.95, 1.05, 40))
    found = fit_intervals([*wide, *narrow], [], before=BEFORE, made_by="a test").step_time
    better, worse = found[Grade.CALIBRATED][Work.DENSE], found[Grade.TRANSFERRED][Work.DENSE]
    assert worse.low <= better.low
    assert worse.high >= better.high


def test_a_grade_with_few_counts_of_memory_takes_those_of_the_better_ones_as_well() -> None:
    many = residuals(Grade.CALIBRATED, "allocated", spread(0.9, 1.1, 40))
    few = residuals(Grade.TRANSFERRED, "allocated", [1.5, 1.6, 1.7], "t")
    found = fit_intervals([], [*many, *few], before=BEFORE, made_by="a test").memory["allocated"]
    assert [found[grade].measurements for grade in Grade] == [40, 43, 43]
    assert found[Grade.TRANSFERRED].high > 1.1


def test_a_way_of_counting_with_few_runs_takes_those_of_the_next_wider_one() -> None:
    reserved = residuals(Grade.CALIBRATED, "reserved", spread(0.98, 1.02, 5), "r")
    device = residuals(Grade.CALIBRATED, "device", spread(0.8, 1.2, 40), "d")
    found = fit_intervals([], [*reserved, *device], before=BEFORE, made_by="a test").memory
    assert found["reserved"][Grade.CALIBRATED].measurements == 45
    assert found["device"][Grade.CALIBRATED].measurements == 40
    assert found["reserved"][Grade.CALIBRATED].high > 1.1


def test_without_any_count_of_memory_nothing_changes() -> None:
    assert fit_intervals([], [], before=BEFORE, made_by="a test").memory == BEFORE.memory


def test_a_source_unlike_the_others_is_not_covered_by_their_interval() -> None:
    alike = residuals(Grade.TRANSFERRED, "dense", spread(0.95, 1.05, 40), "alike")
    unlike = residuals(Grade.TRANSFERRED, "dense", [2.0] * 10, "unlike")
    (row,) = coverage_rows([*alike, *unlike])
    assert (row["grade"], row["kind"], row["configurations"]) == ("transferred", "dense", 50)
    assert row["inside_new_source"] <= 0.8
    assert row["inside"] > 0.9  # the tails give way to the source that is unlike
    assert row["high"] == 2.0


def test_tails_are_five_percent_where_sources_err_alike() -> None:
    alike = [r for s in ("a", "b", "c") for r in residuals(Grade.TRANSFERRED, "dense", spread(0.8, 1.25, 99), s)]
    found = held_interval(alike)
    assert found.interval == interval_of(ratios_of(alike), 0.05)
    assert found.inside_new_source == pytest.approx(found.inside, abs=0.03)


def test_a_grade_as_a_whole_is_the_average_of_its_kinds() -> None:
    dense = residuals(Grade.DATASHEET, "dense", spread(0.9, 1.1, 60))
    experts = residuals(Grade.DATASHEET, "experts", spread(0.5, 2.0, 20))
    few = residuals(Grade.DATASHEET, "dense_8bit", [1.0, 1.1])
    rows = coverage_rows([*dense, *experts, *few])
    assert [row["kind"] for row in rows] == ["dense", "experts", "all"]
    assert rows[-1]["configurations"] == 80
    assert rows[-1]["inside"] == pytest.approx((rows[0]["inside"] * 60 + rows[1]["inside"] * 20) / 80, abs=1e-3)
