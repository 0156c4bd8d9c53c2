"""Intervals shipped with the profiles, and how they bound memory."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.architecture.catalog import load_architecture
from glmplan.cost.estimate import Grade
from glmplan.cost.interval import COUNTINGS, Interval, Work, load_intervals, peak_bounds, work_of
from glmplan.precision import Precision
from glmplan.workload.job import TrainingJob


@pytest.mark.parametrize("kind", [*Work, *COUNTINGS])
def test_intervals_lie_around_the_prediction_and_a_worse_grade_is_never_narrower(kind: str) -> None:
    shipped = load_intervals()
    time, memory = shipped.step_time, shipped.memory
    intervals = [time[g][Work(kind)] if kind in list(Work) else memory[kind][g] for g in Grade]  # type: ignore[index]
    assert all(item.low <= 1 <= item.high for item in intervals)
    for better, worse in pairwise(intervals):
        assert worse.low <= better.low
        assert worse.high >= better.high


def test_every_interval_rests_on_measurements() -> None:
    shipped = load_intervals()
    times = [item for by in shipped.step_time.values() for item in by.values()]
    memory = [item for by in shipped.memory.values() for item in by.values()]
    assert min(item.measurements for item in (*times, *memory)) >= 20


@pytest.mark.parametrize(
    ("model", "precision", "work"),
    [
        ("llama3-8b", Precision.BF16, Work.DENSE),
        ("llama3-8b", Precision.FP32, Work.DENSE),
        ("llama3-8b", Precision.MXFP8, Work.DENSE_8_BIT),
        ("llama3-8b", Precision.NVFP4, Work.DENSE_8_BIT),
        ("mixtral-8x7b", Precision.BF16, Work.EXPERTS),
        ("mixtral-8x7b", Precision.FP8, Work.EXPERTS),
    ],
)
def test_work_is_told_by_experts_first_then_by_the_width_of_matmuls(
    model: str, precision: Precision, work: Work
) -> None:
    job = TrainingJob(architecture=load_architecture(model), seq_len=1024, global_batch=8, precision=precision)
    assert work_of(job) is work


@given(st.floats(0, 1e12), st.floats(0, 1e11), st.floats(0.1, 1), st.floats(1, 3))
def test_the_reserve_is_not_scaled_and_the_peak_lies_inside(
    tensors: float, reserve: float, low: float, high: float
) -> None:
    least, most = peak_bounds(tensors + reserve, reserve, Interval(low=low, high=high, measurements=20))  # type: ignore[arg-type]
    slack = 1e-9 * (tensors + reserve) + 1e-9
    assert reserve - slack <= least <= tensors + reserve + slack
    assert most + slack >= tensors + reserve
    assert most - reserve == pytest.approx(tensors * high, rel=1e-6, abs=1e-3)
