"""Intervals from residuals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import Interval, Intervals
from glmplan.validation.interval_fit import cross_fitted_ratios, fit_intervals, interval_of
from tests.validation.records import comparison, fake_estimate
from tests.validation.test_calibrate import measured_with, truth, varied

BEFORE = Intervals(made_by="before", step_time={grade: Interval(low=0.5, high=2.0, measurements=0) for grade in Grade})


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


def test_grades_without_residuals_keep_their_interval() -> None:
    compared = [comparison(str(i), measured=1.0 + i / 100, predicted=1.0) for i in range(50)]
    found = fit_intervals(compared, [], fake_estimate, before=BEFORE, made_by="a test")
    assert found.made_by == "a test"
    assert found.step_time[Grade.TRANSFERRED].measurements == 50
    assert found.step_time[Grade.DATASHEET] == BEFORE.step_time[Grade.DATASHEET]
    assert found.step_time[Grade.CALIBRATED] == BEFORE.step_time[Grade.CALIBRATED]


def test_calibrated_residuals_come_from_cases_that_the_fit_has_not_seen() -> None:
    ratios = cross_fitted_ratios(measured_with(truth(), varied()), fake_estimate)
    assert len(ratios) == 24
    assert np.all(np.abs(ratios - 1) < 0.1)
