"""Intervals shipped with the profiles."""

import pytest

from glmplan.cost.estimate import Grade
from glmplan.cost.interval import load_intervals


@pytest.mark.parametrize("grade", list(Grade))
def test_every_grade_has_an_interval_around_the_prediction(grade: Grade) -> None:
    interval = load_intervals().step_time[grade]
    assert 0 < interval.low <= 1 <= interval.high
