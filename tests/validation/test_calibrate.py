"""Calibrations: selection of cases, recovery of planted constants, held-out sources."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from glmplan.errors import InputError, NoData
from glmplan.software.catalog import load_stack
from glmplan.software.stack import Stack
from glmplan.validation.calibrate import calibrate, select
from glmplan.validation.case import CaseInputs
from glmplan.validation.predict import predict_step_times
from tests.validation.records import fake_estimate, inputs

PLANTED = {"matmul_time_factor": 1.3, "elementwise_traffic_factor": 2.0, "fixed_step_s": 0.03}


def truth() -> Stack:
    """The stack with the planted constants."""
    return load_stack("megatron-core").with_constants(PLANTED)


def measured_with(stack: Stack, cases: Sequence[CaseInputs]) -> list[CaseInputs]:
    """The cases with the times that ``stack`` gives as their measurements."""
    times = predict_step_times(cases, stack, fake_estimate)
    return [
        replace(case, time=replace(case.time, measured=float(s), step_time_s=float(s)))  # type: ignore[type-var]
        for case, s in zip(cases, times, strict=True)
    ]


def varied() -> list[CaseInputs]:
    """Cases that tell the three constants apart."""
    return [
        inputs(
            id=f"{layers}-{tp}-{batch}-{seq}",
            configuration=f"{layers}-{tp}-{batch}-{seq}",
            source={"title": f"source {seq}", "ref": "none", "year": 2026, "how": "table"},
            model__layers=layers,
            model__params_b=None,
            layout__tp=tp,
            layout__dp=8 // tp,
            layout__global_batch=batch,
            seq_len=seq,
            measured={"step_time_s": 30.0},
        )
        for layers in (4, 24, 48)
        for tp in (1, 2, 8)
        for batch in (32, 256)
        for seq in (1024, 4096)
    ]


def test_planted_constants_are_recovered() -> None:
    result = calibrate(measured_with(truth(), varied()), load_stack("megatron-core"), fake_estimate, made_by="a test")
    assert result.calibration.constants == pytest.approx(PLANTED, rel=0.06)
    assert result.mape_after < 0.01 < result.mape_before
    assert (result.calibration.stack, result.calibration.device) == ("megatron-core", "a100-sxm-80gb")
    assert (result.calibration.cases, result.calibration.residual_mape) == (36, result.mape_after)


def test_a_handful_of_runs_comes_much_closer_than_the_prior() -> None:
    near = load_stack("megatron-core").with_constants(PLANTED | {"fixed_step_s": 0.006})  # within what a prior allows
    runs = measured_with(near, varied())
    few, rest = runs[::8], [case for index, case in enumerate(runs) if index % 8]
    stack = load_stack("megatron-core")
    result = calibrate(few, stack, fake_estimate, made_by="a test")
    fitted = stack.with_constants(result.calibration.constants)

    def worst(with_stack: Stack) -> float:
        times = predict_step_times(rest, with_stack, fake_estimate)
        return max(abs(t / case.time.step_time_s - 1) for t, case in zip(times, rest, strict=True) if case.time)

    assert worst(fitted) < 0.5 * worst(stack)


def test_the_same_cases_give_the_same_calibration() -> None:
    cases = measured_with(truth(), varied()[:6])
    made = [calibrate(cases, load_stack("megatron-core"), fake_estimate, made_by="a test") for _ in range(2)]
    assert made[0].calibration == made[1].calibration


def test_a_source_left_out_is_predicted_from_the_others() -> None:
    cases = measured_with(truth(), varied())
    result = calibrate(cases, load_stack("megatron-core"), fake_estimate, made_by="a test", leave_one_source_out=True)
    assert [(item.source, item.cases) for item in result.held_out] == [("source 1024", 18), ("source 4096", 18)]
    assert all(item.mape_held_out < item.mape_prior for item in result.held_out)


def test_one_source_cannot_be_left_out() -> None:
    with pytest.raises(InputError, match="needs cases of two sources or more; all 1 come from 'A sample'"):
        calibrate([inputs()], load_stack("megatron-core"), fake_estimate, made_by="", leave_one_source_out=True)


def test_the_largest_stack_and_device_is_taken_and_the_rest_is_told() -> None:
    cases = [inputs(id="a"), inputs(id="b"), inputs(id="c", software="torchtitan"), inputs(id="d", suspect="slow")]
    used, skipped = select(cases, None, None)
    assert [case.id for case in used] == ["a", "b"]
    assert {item.id: item.reason for item in skipped} == {
        "c": "of torchtitan-eager on a100-sxm-80gb; this fit is of megatron-core on a100-sxm-80gb",
        "d": "suspect: slow",
    }
    assert [case.id for case in select(cases, "torchtitan-eager", None)[0]] == ["c"]


def test_nothing_to_fit_is_no_data() -> None:
    with pytest.raises(NoData, match="no case of llm-foundry can be fitted"):
        select([inputs()], "llm-foundry", None)
    with pytest.raises(NoData, match="no case can be fitted"):
        select([inputs(trust="C")], None, None)
