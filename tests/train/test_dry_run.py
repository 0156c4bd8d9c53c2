"""The dry run against real steps, against the cost model, and against counts by hand."""

from typing import Any

import pytest

from glmplan.cost.step import CostModel, cost_model
from glmplan.errors import InputError
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.precision import Precision
from glmplan.software.catalog import load_stack
from glmplan.train.dry_run.counts import MODEL, StepCounts
from glmplan.train.dry_run.differences import differences
from glmplan.train.dry_run.prediction import predicted_counts
from glmplan.train.dry_run.rehearsal import rehearse
from glmplan.workload.job import TrainingJob
from tests.train.jobs import SEQ_LEN, step_bytes, tiny_job
from tests.train.worker_pool import WorkerPool

LARGER: dict[str, Any] = {"hidden": 128, "ffn_hidden": 256, "head_dim": 16, "layers": 4}
FSDP = ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.FSDP, shard_group=4)
HSDP = ParallelLayout(dp=4, micro_batch=1, grad_accum=2, sharding=Sharding.HSDP, shard_group=2)
HYBRID = HSDP.model_copy(update={"micro_batch": 2, "grad_accum": 1})
TENSOR = ParallelLayout(tp=2, micro_batch=8)
SEQUENCE = ParallelLayout(tp=2, micro_batch=8, sequence_parallel=True)
TWO_AXES = ParallelLayout(tp=2, dp=2, micro_batch=4, sequence_parallel=True, sharding=Sharding.FSDP, shard_group=2)
ALONE = ParallelLayout(micro_batch=8)
ACCUMULATED = ParallelLayout(micro_batch=2, grad_accum=4)
REPLICATED = ParallelLayout(dp=4, micro_batch=2)
LAYOUTS = (ALONE, ACCUMULATED, REPLICATED, FSDP, HSDP, TENSOR, SEQUENCE, TWO_AXES)
STOPPING_EARLY = {"recompute_stops_early": True}
"""torch's checkpoint ends a recomputation once all that was kept is there again."""


def with_recompute(layout: ParallelLayout, recompute: Recompute) -> ParallelLayout:
    return layout.model_copy(update={"recompute": recompute})


def model_of(job: TrainingJob, layout: ParallelLayout) -> CostModel:
    stack = load_stack("glmplan")
    stack = stack.model_copy(update={"kernels": stack.kernels.model_copy(update=STOPPING_EARLY)})
    return cost_model(job, load_cluster("dgx-h100-pod").sized(layout.world_size), stack)


def sent(counts: StepCounts) -> dict[tuple[str, str], tuple[float, float]]:
    """(kind, group) -> (count, bytes) of what carries the model."""
    return {(c.kind, c.group): (c.count, c.bytes) for c in counts.collectives if c.part == MODEL}


@pytest.mark.parametrize(
    ("precision", "layout"),
    [
        *[(Precision.FP32, layout) for layout in LAYOUTS],
        (Precision.FP32, with_recompute(ALONE, Recompute.FULL)),
        (Precision.FP32, with_recompute(FSDP, Recompute.FULL)),
        (Precision.BF16, REPLICATED),
    ],
    ids=lambda value: value.label() if isinstance(value, ParallelLayout) else str(value),
)
def test_the_peak_is_that_of_a_real_step(precision: Precision, layout: ParallelLayout, pool: WorkerPool) -> None:
    job = tiny_job(precision, **LARGER)
    real = pool.run(layout.world_size, step_bytes, job, layout)
    counted = rehearse(job, layout, on_gpu=False)
    # gloo's threads may hold what they have sent a little longer on some ranks
    assert counted.peak_memory_bytes == pytest.approx(min(real), rel=0.01)
    assert sum(counted.memory.values()) == counted.peak_memory_bytes


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("recompute", Recompute)
@pytest.mark.parametrize("layout", [ACCUMULATED, FSDP, TENSOR, TWO_AXES], ids=ParallelLayout.label)
def test_the_cost_model_counts_the_same_flops(layout: ParallelLayout, recompute: Recompute, on_gpu: bool) -> None:
    job, layout = tiny_job(), with_recompute(layout, recompute)
    counted = rehearse(job, layout, on_gpu=on_gpu)
    assert counted.flops == pytest.approx(predicted_counts(model_of(job, layout), layout).flops, rel=1e-9)


@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.FULL])
@pytest.mark.parametrize("layout", [REPLICATED, HYBRID, SEQUENCE, TWO_AXES], ids=ParallelLayout.label)
def test_the_cost_model_sends_the_same_bytes(layout: ParallelLayout, recompute: Recompute) -> None:
    job, layout = tiny_job(), with_recompute(layout, recompute)
    counted = sent(rehearse(job, layout, on_gpu=False))
    for (kind, group), (count, num_bytes) in sent(predicted_counts(model_of(job, layout), layout)).items():
        if (kind, group) == ("all_gather", "shard"):
            # FSDP2 keeps the head from its forward to its backward pass; the cost model gathers everything twice
            head_bytes = 4.0 * 96 * 32 / layout.tp + 4.0 * 32
            num_bytes -= head_bytes * layout.grad_accum
        assert counted[kind, group][1] == num_bytes
        if group == "tensor":
            assert counted[kind, group][0] == count


def test_flops_by_hand() -> None:
    arch = tiny_job().architecture
    matrices = arch.layers * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 32 * 96
    attention = arch.layers * arch.heads * arch.head_dim * SEQ_LEN * SEQ_LEN  # causal: half of 2 * 2 products
    counted = rehearse(tiny_job(), ALONE, on_gpu=False)
    assert counted.flops == 8 * (6 * matrices * SEQ_LEN + 2 * attention * 3.5)


def test_a_gpu_keeps_less_of_a_norm() -> None:
    job = tiny_job(**LARGER)
    on_cpu, on_gpu = (rehearse(job, ALONE, on_gpu=on_gpu) for on_gpu in (False, True))
    assert on_gpu.memory["activations_bytes"] < on_cpu.memory["activations_bytes"]
    assert on_gpu.memory["parameters_bytes"] == on_cpu.memory["parameters_bytes"]


def test_thousands_of_ranks_need_no_more_than_one_process() -> None:
    layout = FSDP.model_copy(update={"dp": 4096, "shard_group": 4096, "micro_batch": 1})
    job = tiny_job(global_batch=4096)
    first, last = (rehearse(job, layout, rank=rank, on_gpu=True) for rank in (0, 4095))
    assert {c.ranks for c in first.collectives} == {4096}
    assert last.flops == first.flops
    # the rows of no matrix go round
    assert last.memory["optimizer_bytes"] < first.memory["optimizer_bytes"]


def test_what_a_dry_run_does_not_do_is_refused() -> None:
    with pytest.raises(InputError, match=r"pp"):
        rehearse(tiny_job(), ParallelLayout(pp=2, micro_batch=1, grad_accum=8), on_gpu=False)
    with pytest.raises(InputError, match="rank: the plan has ranks 0 to 3; got 4"):
        rehearse(tiny_job(), FSDP, rank=4, on_gpu=False)


def test_differences_leave_out_what_the_cost_model_does_not_speak_of() -> None:
    job = tiny_job()
    rows = differences(rehearse(job, FSDP, on_gpu=False), predicted_counts(model_of(job, FSDP), FSDP))
    by_name = {row.name: row for row in rows}
    assert by_name["FLOPs"].relative == pytest.approx(0.0)
    assert by_name["all-reduce shard x4 (update), count"].predicted is None
    assert by_name["parameters at the peak"].relative == pytest.approx(0.0)
    assert rows[-1].name == "peak memory"
