from typing import Any

import pytest

from glmplan.plan.measurement import Measurement
from glmplan.report.comparison import accuracy_rows, match_run
from glmplan.report.run_folder import Run
from tests.report.sample_plan import GIB, sample_measurement, sample_plan

PLAN = sample_plan()


def run_of(measurement: Measurement | None) -> Run:
    return Run(name="run", steps=(), measurement=measurement)


def test_a_run_is_matched_to_the_layout_it_trained() -> None:
    for rank, option in enumerate((PLAN.chosen, *PLAN.alternatives), start=1):
        match = match_run(PLAN, run_of(sample_measurement(PLAN, option, step_time_s=9.0)))
        assert (match.rank, match.option) == (rank, option)


def test_errors_are_relative_to_what_was_measured() -> None:
    measurement = sample_measurement(PLAN, PLAN.chosen, step_time_s=10.9, tokens_per_s_per_gpu=300.0, mfu=0.4)
    rows = {row.quantity: row for row in accuracy_rows(PLAN, (run_of(measurement),))}
    assert set(rows) == {"step_time_s", "tokens_per_s_per_gpu", "mfu"}
    assert rows["step_time_s"].relative_error == pytest.approx(8.72 / 10.9 - 1)
    assert rows["step_time_s"].inside is False
    assert rows["mfu"].relative_error == pytest.approx(0.15)
    assert rows["mfu"].inside is None


def test_a_step_inside_its_interval_has_its_rate_inside_too() -> None:
    for step_s in (8.1, 8.72, 9.4, 7.0, 12.0):
        rate = PLAN.request.job.tokens_per_step / 1024 / step_s
        measurement = sample_measurement(PLAN, PLAN.chosen, step_time_s=step_s, tokens_per_s_per_gpu=rate)
        time, tokens = accuracy_rows(PLAN, (run_of(measurement),))
        assert time.inside == tokens.inside == (8.72 * 0.92 <= step_s <= 8.72 * 1.09)


def test_memory_is_compared_without_the_reserve() -> None:
    measurement = sample_measurement(PLAN, PLAN.chosen, peak_memory_gib=41.3)
    (row,) = accuracy_rows(PLAN, (run_of(measurement),))
    assert row.predicted == pytest.approx((44.3 - 3.0) * GIB)
    assert row.relative_error == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"name": "gpt3-175b", "layers": 95}}, "model.layers: run 95, plan 96"),
        ({"seq_len": 4096}, "seq_len: run 4096, plan 2048"),
        ({"layout": {"precision": "fp32"}}, "layout.precision: run fp32, plan bf16"),
        ({"software": "torchtitan"}, "software: run torchtitan, plan megatron-2022"),
        ({"layout": {"tp": 8, "pp": 16}}, "does not state layout.dp"),
        ({"layout": {"tp": 1, "pp": 1, "dp": 1024, "micro_batch": 1}}, "the plan does not hold its layout (tp=1 pp=1"),
        ({"hardware": {"gpu": "a100", "gpus": 512}}, "the plan does not hold its layout"),
    ],
)
def test_a_run_of_something_else_is_not_compared(change: dict[str, Any], reason: str) -> None:
    measurement = sample_measurement(PLAN, PLAN.chosen, step_time_s=8.5).model_copy(update=change)
    match = match_run(PLAN, run_of(measurement))
    assert match.option is None
    assert reason in match.reason
    assert accuracy_rows(PLAN, (run_of(measurement),)) == []


def test_the_name_of_the_model_does_not_matter_for_the_comparison() -> None:
    measurement = sample_measurement(PLAN, PLAN.chosen, step_time_s=8.5)
    renamed = measurement.model_copy(update={"model": measurement.model | {"name": "ours", "source": "elsewhere"}})
    assert match_run(PLAN, run_of(renamed)).rank == 1


def test_a_run_without_an_end_has_nothing_to_compare() -> None:
    assert match_run(PLAN, run_of(None)).reason == "no measurement yet; the run has not ended"
