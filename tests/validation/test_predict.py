"""Predictions of several cases at once."""

from typing import Any

import numpy as np
import pytest

from glmplan.errors import NoData
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.software.catalog import load_stack
from glmplan.software.stack import Stack
from glmplan.validation.case import CaseInputs, Skipped
from glmplan.validation.comparison import compare
from glmplan.validation.predict import Prediction, predict_cases, predict_step_times
from glmplan.workload.job import TrainingJob
from tests.validation.records import FakeTable, fake_estimate, inputs


def stack_of(case: CaseInputs) -> Stack:
    """The preset."""
    return load_stack(case.stack)


def test_cases_of_one_job_are_estimated_in_one_table() -> None:
    calls: list[int] = []

    def counting(table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> FakeTable:
        calls.append(len(table))
        return fake_estimate(table, job, cluster, stack)

    cases = [inputs(id=f"m{m}", layout__micro_batch=m) for m in (1, 2, 4, 8)] + [inputs(id="longer", seq_len=4096)]
    predictions = predict_cases(cases, stack_of, counting)
    assert sorted(calls) == [1, 4]
    assert [item.case.id for item in predictions if isinstance(item, Prediction)] == ["m1", "m2", "m4", "m8", "longer"]


def test_a_table_gives_the_same_times_as_cases_one_by_one() -> None:
    cases = [inputs(id=f"m{m}", layout__micro_batch=m) for m in (1, 2, 4, 8)]
    stack = load_stack("megatron-core")
    together = predict_step_times(cases, stack, fake_estimate)
    alone = [float(predict_step_times([case], stack, fake_estimate)[0]) for case in cases]
    assert together == pytest.approx(alone)


def test_a_fractional_batch_is_predicted_between_its_neighbours() -> None:
    times = [
        predict_step_times([inputs(**changes)], load_stack("megatron-core"), fake_estimate)[0]
        for changes in (
            {"layout__global_batch": 48},
            {"layout__global_batch": 60, "layout__grad_accum": 4},
            {"layout__global_batch": 64},
        )
    ]
    assert times[1] == pytest.approx(0.25 * times[0] + 0.75 * times[2])


def test_what_the_predictor_refuses_is_skipped_with_its_reason() -> None:
    def refusing(table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> FakeTable:
        if job.seq_len == 4096:
            raise NoData("device a100-sxm-80gb: no peak is known")
        return fake_estimate(table, job, cluster, stack)

    cases = [inputs(id="a"), inputs(id="b", seq_len=4096)]
    first, second = predict_cases(cases, stack_of, refusing)
    assert isinstance(first, Prediction)
    assert second == Skipped(id="b", reason="device a100-sxm-80gb: no peak is known")
    assert np.isnan(predict_step_times(cases, load_stack("megatron-core"), refusing)).tolist() == [False, True]


def test_a_time_that_is_no_number_is_skipped() -> None:
    def broken(table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> FakeTable:
        return FakeTable(step_time_s=np.full(len(table), np.nan))

    (found,) = predict_cases([inputs()], stack_of, broken)
    assert isinstance(found, Skipped)


def comparisons(**changes: Any) -> Any:
    """The comparisons of one case."""
    (found,) = predict_cases([inputs(**changes)], stack_of, fake_estimate)
    assert isinstance(found, Prediction)
    return found, compare(found)


def test_a_speed_and_its_interval_are_compared_as_a_speed_and_counted_as_a_time() -> None:
    prediction, (found,) = comparisons(measured={"tokens_per_s_per_gpu": 16384.0})
    assert found.quantity == "tokens_per_s_per_gpu"
    assert found.predicted == pytest.approx(16384.0 / prediction.step_time_s)
    assert found.low90 < found.predicted < found.high90
    assert found.low90 == pytest.approx(16384.0 / prediction.step_time_high90_s)
    assert found.error == pytest.approx(prediction.step_time_s - 1.0)
    assert found.relative_error == pytest.approx(1 / prediction.step_time_s - 1.0)


def test_time_and_memory_are_two_comparisons() -> None:
    _, found = comparisons(measured={"step_time_s": 1.0, "peak_memory_gib": 8.0})
    assert [item.quantity for item in found] == ["step_time_s", "peak_memory_gib"]
    assert found[1].error == pytest.approx(0.25)
    assert found[1].low90 is not None and found[1].high90 is not None
    assert 0 < found[1].low90 < found[1].predicted < found[1].high90


def test_a_case_carries_the_labels_it_is_grouped_by() -> None:
    _, (found,) = comparisons()
    assert found.membership.labels == {
        "source": "A sample",
        "software": "megatron-lm",
        "stack": "megatron-core",
        "device": "a100-sxm-80gb",
        "model size": "1B to 10B",
        "technique": "tp+dp",
        "precision": "bf16",
        "grade": "transferred",
    }
