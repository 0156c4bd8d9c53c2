"""Which measured number is compared."""

import pytest

from glmplan.layout.parallel_layout import LayoutTable
from glmplan.software.catalog import load_stack
from glmplan.validation.quantity import TimeQuantity
from tests.validation.records import fake_estimate, inputs


def test_a_step_time_is_preferred_to_a_speed() -> None:
    case = inputs(measured={"step_time_s": 1.0, "tokens_per_s_per_gpu": 16384.0})
    assert case.time == TimeQuantity(name="step_time_s", measured=1.0, step_time_s=1.0)


def test_a_speed_becomes_the_step_time_of_the_whole_batch() -> None:
    # 64 sequences of 2048 tokens on 8 devices at 16,384 tokens/s each take a second.
    case = inputs(measured={"tokens_per_s_per_gpu": 16384.0})
    assert case.time is not None
    assert case.time.step_time_s == pytest.approx(1.0)
    assert case.time.value_at(2.0) == pytest.approx(8192.0)


def test_hardware_flops_follow_the_formula_of_their_paper() -> None:
    # Narayanan 2021, arXiv:2104.04473, eq. 3: F = 96 B s l h^2 (1 + s/6h + V/16lh), which counts recomputation.
    batch, s, layers, h, vocab = 64, 2048, 24, 2048, 51200
    flops = 96 * batch * s * layers * h**2 * (1 + s / (6 * h) + vocab / (16 * layers * h))
    case = inputs(source__ref="arXiv:2104.04473", measured={"hardware_tflops_per_gpu": 100.0})
    assert case.time is not None
    assert case.time.step_time_s == pytest.approx(flops / (8 * 100e12), rel=1e-3)


def test_mfu_is_used_where_the_source_says_how_it_counts() -> None:
    case = inputs(source__ref="github huggingface/nanotron docs", measured={"mfu": 0.4})
    assert case.time is not None
    assert case.time.name == "mfu"
    assert case.time.value_at(2 * case.time.step_time_s) == pytest.approx(0.2)


def test_memory_is_counted_as_the_source_counts_it() -> None:
    case = inputs(measured={"step_time_s": 1.0, "peak_memory_gib": 9.0})
    assert case.memory is not None
    estimate = fake_estimate(LayoutTable.of(case.parts[0].layout), case.job, case.cluster, load_stack(case.stack)).row(
        0
    )
    assert case.memory.kind == "allocated"
    assert case.memory.predicted_gib(estimate) == pytest.approx(10.0)
    reserved = inputs(software="torchtitan", measured={"step_time_s": 1.0, "peak_memory_gib": 9.0}).memory
    assert reserved is not None
    assert reserved.kind == "reserved"
    assert reserved.predicted_gib(estimate) == pytest.approx(10.0)
    cached = estimate.model_copy(update={"cached_memory_bytes": 2 * 2.0**30})
    assert reserved.predicted_gib(cached) == pytest.approx(12.0)
    full = cached.model_copy(update={"memory_capacity_bytes": 12 * 2.0**30})
    assert reserved.predicted_gib(full) == pytest.approx(11.0)  # the context takes the last of 12
