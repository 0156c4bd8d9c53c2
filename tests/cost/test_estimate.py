"""What an estimate says of itself."""

from dataclasses import replace

import pytest

from glmplan.cost.estimate import MemoryVerdict
from glmplan.cost.step import estimate
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.software.catalog import load_stack
from glmplan.workload.job import TrainingJob
from tests.report.sample_plan import sample_plan


@pytest.mark.parametrize(
    ("low", "peak", "high", "verdict"),
    [
        (70, 75, 80, MemoryVerdict.WITH_MARGIN),
        (70, 75, 81, MemoryVerdict.LIKELY),
        (79, 81, 90, MemoryVerdict.UNLIKELY),
        (81, 85, 90, MemoryVerdict.NOT),
    ],
)
def test_the_verdict_on_memory_weighs_the_error_bar(
    low: float, peak: float, high: float, verdict: MemoryVerdict
) -> None:
    gib = 2.0**30
    sizes = {
        "peak_memory_low90_bytes": low * gib,
        "peak_memory_bytes": peak * gib,
        "peak_memory_high90_bytes": high * gib,
    }
    assert sample_plan().chosen.estimate.model_copy(update=sizes).memory_verdict is verdict


def test_money_days_and_memory_carry_the_interval_of_what_they_come_from() -> None:
    from glmplan.architecture.catalog import load_architecture

    job = TrainingJob(architecture=load_architecture("llama3-8b"), seq_len=4096, global_batch=64, tokens=1e12)
    layout = ParallelLayout(dp=8, grad_accum=8)
    table = estimate(LayoutTable.of(layout), job, load_cluster("dgx-h100-pod").sized(8), load_stack("megatron-core"))
    e = replace(table, usd_per_device_hour=2.0).row(0)
    assert e.usd_per_billion_tokens is not None and e.train_days is not None
    assert e.usd_per_billion_tokens_low90 is not None and e.usd_per_billion_tokens_high90 is not None
    assert e.train_low90_days is not None and e.train_high90_days is not None
    low, high = e.step_time_low90_s / e.step_time_s, e.step_time_high90_s / e.step_time_s
    assert e.usd_per_billion_tokens_low90 / e.usd_per_billion_tokens == pytest.approx(low)
    assert e.train_high90_days / e.train_days == pytest.approx(high)
    assert e.peak_memory_low90_bytes < e.peak_memory_bytes < e.peak_memory_high90_bytes
    allocated = e.peak_memory_bytes - e.memory.reserve_bytes
    assert e.peak_memory_high90_bytes == pytest.approx(e.memory.reserve_bytes + allocated * table.memory_interval.high)
