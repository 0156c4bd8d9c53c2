"""Intervals from residuals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import Interval, load_intervals
from glmplan.validation.coverage import Residual, coverage, interval_of, ratios_by_grade
from glmplan.validation.interval_fit import fit_intervals

BEFORE = load_intervals().model_copy(
    update={"step_time": {grade: Interval(low=0.5, high=2.0, measurements=0) for grade in Grade}}
)


def residuals(grade: str, ratios: list[float], source: str = "s") -> list[Residual]:
    return [Residual(grade=grade, source=source, configuration=f"{source}{i}", ratio=r) for i, r in enumerate(ratios)]


def test_the_interval_leaves_out_a_twentieth_on_each_side() -> None:
    # 99 residuals: floor(0.05 * 100) = 5 may lie beyond each bound, the bound itself the fifth from the end.
    found = interval_of(np.linspace(0.51, 1.49, 99))
    assert (found.low, found.high, found.measurements) == (pytest.approx(0.55), pytest.approx(1.45), 99)


@given(st.lists(st.floats(0.2, 5.0), min_size=20, max_size=200))
@settings(deadline=None)
def test_nine_tenths_lie_inside_and_the_prediction_too(ratios: list[float]) -> None:
    found = interval_of(np.array(ratios))
    inside = np.mean([found.low * 0.99 <= ratio <= found.high * 1.01 for ratio in ratios])
    assert inside >= 0.9
    assert found.low <= 1.0 <= found.high


def test_reruns_of_a_configuration_count_once() -> None:
    runs = [Residual(grade="transferred", source="s", configuration="a", ratio=r) for r in (1.0, 1.2, 1.1)]
    assert ratios_by_grade(runs)["transferred"].tolist() == [1.1]


def test_grades_without_residuals_keep_their_interval() -> None:
    found = fit_intervals(residuals("transferred", list(np.linspace(0.8, 1.2, 50))), before=BEFORE, made_by="a test")
    assert found.made_by == "a test"
    assert found.step_time[Grade.TRANSFERRED].measurements == 50
    assert found.step_time[Grade.CALIBRATED] == BEFORE.step_time[Grade.CALIBRATED]
    assert found.step_time[Grade.DATASHEET].measurements == 0


def test_a_worse_grade_is_never_narrower() -> None:
    wide = residuals("calibrated", list(np.linspace(0.6, 1.6, 40)))
    narrow = residuals("transferred", list(np.linspace(0.95, 1.05, 40)))
    found = fit_intervals([*wide, *narrow], before=BEFORE, made_by="a test").step_time
    assert found[Grade.TRANSFERRED].low <= found[Grade.CALIBRATED].low
    assert found[Grade.TRANSFERRED].high >= found[Grade.CALIBRATED].high


def test_a_source_unlike_the_others_is_not_covered_by_their_interval() -> None:
    alike = residuals("transferred", list(np.linspace(0.95, 1.05, 40)), "alike")
    unlike = residuals("transferred", [2.0] * 10, "unlike")
    found = coverage([*alike, *unlike])["transferred"]
    assert found["configurations"] == 50
    assert found["coverage_new_source"] <= 0.8
