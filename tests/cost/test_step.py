"""The step: parts and whole, one and many, and the bounds that no prediction may break."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.step import CostModel, cost_model
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Schedule
from glmplan.software.catalog import load_stack
from tests.small_jobs import MODELS, cluster_of, costs, job_of, legal_layouts, model, priced_layouts, some_of

PRICED = priced_layouts()


@settings(max_examples=60)
@given(priced=PRICED)
def test_parts_sum_to_the_whole(priced: tuple[CostModel, LayoutTable]) -> None:
    cost, table = priced
    estimate = cost.estimate(table).row(0)
    time, memory = estimate.time.model_dump(), estimate.memory.model_dump()
    assert sum(time.values()) == pytest.approx(estimate.step_time_s, rel=1e-12)
    assert sum(memory.values()) == pytest.approx(estimate.peak_memory_bytes, rel=1e-12)
    assert min(time.values()) >= 0
    assert min(memory.values()) >= 0


@settings(max_examples=40)
@given(priced=PRICED)
def test_no_step_is_faster_than_its_model_flops_at_peak(priced: tuple[CostModel, LayoutTable]) -> None:
    cost, table = priced
    estimate = cost.estimate(table).row(0)
    world = table.row(0).world_size
    job = cost.job
    causal = model_flops_per_token(job.architecture, job.seq_len, causal_half=True).total * job.tokens_per_step
    assert estimate.step_time_s >= causal / (world * cost.device.peak_flops_per_s)
    assert 0 < estimate.mfu < 1
    assert estimate.hfu >= estimate.mfu


@settings(max_examples=40)
@given(priced=PRICED)
def test_figures_follow_from_one_another(priced: tuple[CostModel, LayoutTable]) -> None:
    cost, table = priced
    e, world = cost.estimate(table).row(0), table.row(0).world_size
    assert e.tokens_per_s == pytest.approx(cost.job.tokens_per_step / e.step_time_s)
    assert e.tokens_per_s_per_gpu == pytest.approx(e.tokens_per_s / world)
    assert e.mfu == pytest.approx(e.model_flops / e.step_time_s / world / cost.device.peak_flops_per_s)
    assert e.step_time_low90_s <= e.step_time_s <= e.step_time_high90_s
    assert e.usd_per_hour is not None
    assert e.usd_per_billion_tokens == pytest.approx(e.usd_per_hour / 3600 / e.tokens_per_s * 1e9)


@pytest.mark.parametrize(
    ("kind", "stack"),
    [*[(kind, "megatron-core") for kind in MODELS], ("dense", "torchtitan"), ("experts", "deepspeed")],
)
def test_a_table_of_many_equals_many_tables_of_one(kind: str, stack: str) -> None:
    table, cost = some_of(legal_layouts(kind, 16, stack), 20, seed=2), costs(kind, 16, stack)
    many = cost.estimate(table)
    ones = [cost.estimate(table.take(slice(index, index + 1))) for index in range(len(table))]
    for field in (
        "step_time_s",
        "peak_memory_bytes",
        "mfu",
        "hfu",
        "tokens_per_s_per_gpu",
        "executed_flops",
        "num_devices",
    ):
        together = np.concatenate([getattr(one, field) for one in ones])
        assert getattr(many, field).tolist() == together.tolist(), field  # to the last bit
    for part, values in (*many.time.items(), *many.memory.items()):
        alone = [{**one.time, **one.memory}[part].item() for one in ones]
        assert values.tolist() == alone, part
    assert many.row(7) == ones[7].row(0)


@pytest.mark.parametrize("kind", MODELS)
def test_time_goes_to_a_technique_only_where_its_degree_is_above_one(kind: str) -> None:
    table = some_of(legal_layouts(kind), 200, seed=3)
    time = costs(kind).estimate(table).time
    degrees = {
        "tensor_parallel_s": table.tp,
        "context_parallel_s": table.cp,
        "expert_parallel_s": table.ep,
        "pipeline_transfer_s": table.pp,
        "pipeline_bubble_s": table.pp,
        "data_parallel_s": table.dp * table.cp,
    }
    for part, degree in degrees.items():
        assert time[part][degree == 1] == pytest.approx(0, abs=1e-12), part
        assert (time[part][degree > 1] > 0).all(), part
    recomputed = time["recompute_s"] > 0
    assert recomputed.tolist() == (table.recompute > 0).tolist()


@settings(max_examples=30)
@given(priced=PRICED, factor=st.floats(1.0, 20.0))
def test_faster_links_and_memory_never_slow_a_step(priced: tuple[CostModel, LayoutTable], factor: float) -> None:
    cost, table = priced
    tiers = tuple(
        replace(tier, bandwidth_bytes_per_s=tier.bandwidth_bytes_per_s * factor) for tier in cost.collectives.tiers
    )
    faster = replace(cost, collectives=replace(cost.collectives, tiers=tiers))
    assert faster.estimate(table).step_time_s <= cost.estimate(table).step_time_s * (1 + 1e-9)


def test_the_bubble_is_p_minus_1_over_m_of_an_ideal_pipeline() -> None:
    """Narayanan 2021 (arXiv:2104.04473, section 2.2.1), for layers alone: the head would make the stages uneven."""
    arch = load_architecture("gpt3-175b").model_copy(update={"vocab": 8})
    job = job_of(arch, seq_len=2048, global_batch=64)
    cost = cost_model(job, cluster_of("dgx-a100-pod", 64), load_stack("megatron-core"))
    for p, v in ((2, 1), (4, 1), (8, 1), (8, 3), (8, 12)):
        schedule = Schedule.INTERLEAVED if v > 1 else Schedule.ONE_F_ONE_B
        layout = ParallelLayout(tp=8, pp=p, dp=8 // p, virtual_stages=v, grad_accum=8 * p, schedule=schedule)
        time = cost.estimate(LayoutTable.of(layout)).row(0).time
        work = time.forward_s + time.backward_s + time.tensor_parallel_s
        assert time.pipeline_bubble_s / work == pytest.approx((p - 1) / (8 * p) / v, rel=0.02)


def test_recomputation_in_full_repeats_the_forward_pass_of_the_layers() -> None:
    """Executed FLOPs: 4 / 3 of the layers' (Korthikanti 2022, section 2)."""
    arch = model()
    table = LayoutTable.of(ParallelLayout(dp=8), ParallelLayout(dp=8, recompute=Recompute.FULL))
    executed = costs().estimate(table).executed_flops
    per_token = model_flops_per_token(arch, 256)
    layers = (per_token.matmul + per_token.attention) * 256 * 8
    assert executed[1] - executed[0] == pytest.approx(layers / 3)
    assert executed[0] == pytest.approx(per_token.total * 256 * 8)


def test_recomputation_in_full_repeats_the_collectives_of_the_forward_pass() -> None:
    """Half of a layer's collectives are forward's, so the layers' part grows by a half (Megatron-LM's known price)."""
    plain = ParallelLayout(tp=4, dp=4, grad_accum=2)
    table = LayoutTable.of(plain, plain.model_copy(update={"recompute": Recompute.FULL}))
    deep = cost_model(job_of(model(layers=64)), cluster_of("dgx-a100-pod", 16), load_stack("megatron-core"))
    once, again = deep.estimate(table).time["tensor_parallel_s"]
    assert again / once == pytest.approx(1.5, rel=0.02)


def test_gradients_are_reduced_behind_the_last_backward_pass() -> None:
    """With compute to spare only the least share stays visible; recomputation gives more to hide behind, never less."""
    job = job_of(load_architecture("llama3-8b"), seq_len=8192, global_batch=16)
    plain = ParallelLayout(tp=8, dp=2, grad_accum=8)
    table = LayoutTable.of(plain, plain.model_copy(update={"recompute": Recompute.FULL}))
    stack, visible = load_stack("megatron-core"), []
    for share in (0.02, 0.04, 1.0):
        cost = cost_model(job, cluster_of("dgx-a100-pod", 16), stack.with_constants({"data_parallel_exposed": share}))
        visible.append(cost.estimate(table).time["data_parallel_s"])
    assert visible[0] == pytest.approx(visible[2] * 0.02)
    assert visible[1] == pytest.approx(visible[2] * 0.04)
    assert visible[0][1] <= visible[0][0]


def test_the_stage_with_most_parameters_sets_the_optimizer_step() -> None:
    """Three layers on two stages: the first holds two of them."""
    even, uneven = (
        cost_model(job_of(model(layers=layers, vocab=64)), cluster_of("dgx-a100-pod", 2), load_stack("megatron-core"))
        .estimate(LayoutTable.of(ParallelLayout(pp=2, grad_accum=8)))
        .time["optimizer_s"]
        .item()
        for layers in (2, 3)
    )
    assert uneven / even == pytest.approx(2.0, rel=0.1)


def test_an_empty_table_gives_empty_estimates() -> None:
    table = legal_layouts("dense").take(slice(0, 0))
    assert len(costs().estimate(table).step_time_s) == 0
