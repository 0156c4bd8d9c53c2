"""Layouts that state their stages: exact over all of them, by the formulas that price even ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import CostModel, cost_model
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Schedule
from glmplan.layout.stages import even_shares
from glmplan.software.catalog import load_stack
from tests.small_jobs import cluster_of, job_of, model

LAYERS = 12


def cost_of(kind: str = "dense") -> CostModel:
    job = job_of(model(kind, layers=LAYERS), global_batch=32)
    return cost_model(job, cluster_of("dgx-a100-pod", 8), load_stack("megatron-core"))


DENSE = cost_of()


def spelt(layout: ParallelLayout, layers: int = LAYERS) -> ParallelLayout:
    """``layout`` with the layers of its even stages written out."""
    chunks = layout.pp * layout.virtual_stages
    first, longer, share, num_longer = (int(n[0]) for n in even_shares(layers, np.array([chunks])))
    sizes = (first, *[longer] * num_longer, *[share] * (chunks - 1 - num_longer))
    return layout.model_copy(update={"stage_layers": sizes})


@settings(max_examples=40)
@given(
    pp=st.sampled_from([1, 2, 4, 8]),
    virtual=st.sampled_from([1, 3]),
    recompute=st.sampled_from(Recompute),
    limit=st.none() | st.integers(0, 6),
    data=st.data(),
)
def test_an_even_layout_costs_the_same_when_its_stages_are_spelt_out(
    pp: int, virtual: int, recompute: Recompute, limit: int | None, data: st.DataObject
) -> None:
    virtual = virtual if pp > 1 and LAYERS % (pp * virtual) == 0 else 1
    layout = ParallelLayout(
        pp=pp,
        dp=8 // pp,
        grad_accum=4 * pp,
        virtual_stages=virtual,
        schedule=Schedule.INTERLEAVED if virtual > 1 else Schedule.ONE_F_ONE_B,
        recompute=recompute,
        recompute_layers=limit if recompute is Recompute.FULL else None,
    )
    both = DENSE.estimate(LayoutTable.of(layout, spelt(layout)))
    assert both.step_time_s[0] == pytest.approx(both.step_time_s[1], rel=1e-12)
    assert both.peak_memory_bytes[0] == pytest.approx(both.peak_memory_bytes[1], rel=1e-12)
    assert both.executed_flops[0] == pytest.approx(both.executed_flops[1], rel=1e-12)


def test_a_layer_moved_to_a_stage_makes_it_the_bottleneck_by_that_layer() -> None:
    """Step = m x slowest stage + the other stages once (1F1B): by hand from three layouts."""
    m, base = 16, ParallelLayout(pp=4, dp=2, grad_accum=16)
    layouts = [base.model_copy(update={"stage_layers": s}) for s in ((3, 3, 3, 3), (2, 4, 3, 3), (1, 5, 3, 3))]
    times = DENSE.estimate(LayoutTable.of(*layouts)).time
    busy = times["forward_s"] + times["backward_s"]
    layer_s = (busy[2] - busy[1]) / m
    assert layer_s > 0
    bubble = times["pipeline_bubble_s"]
    assert bubble[1] - bubble[2] == pytest.approx(layer_s, rel=1e-9)


def test_relieving_the_stage_with_the_head_speeds_up_a_model_with_a_large_vocabulary() -> None:
    job = job_of(model(layers=LAYERS, vocab=262144), global_batch=32, seq_len=2048)
    cost = cost_model(job, cluster_of("dgx-a100-pod", 8), load_stack("megatron-core"))
    base = ParallelLayout(pp=4, dp=2, grad_accum=16)
    even, relieved = (base.model_copy(update={"stage_layers": s}) for s in ((3, 3, 3, 3), (4, 4, 4, 0)))
    times = cost.estimate(LayoutTable.of(even, relieved)).step_time_s
    assert times[1] < times[0]


@given(limit=st.integers(0, LAYERS - 1), pp=st.sampled_from([1, 2, 4]))
def test_each_further_recomputed_layer_takes_time_and_frees_memory(limit: int, pp: int) -> None:
    job = job_of(model(layers=LAYERS), global_batch=32, seq_len=2048)
    cost = cost_model(job, cluster_of("dgx-a100-pod", 8), load_stack("megatron-core"))
    base = ParallelLayout(pp=pp, dp=8 // pp, grad_accum=4 * pp, recompute=Recompute.FULL)
    fewer, more = (base.model_copy(update={"recompute_layers": k}) for k in (limit, limit + 1))
    table = LayoutTable.of(fewer, more)
    estimate, activations = cost.estimate(table), cost.memory(table)["activations_bytes"]
    assert estimate.step_time_s[0] <= estimate.step_time_s[1]
    assert activations[0] >= activations[1]
    if limit < LAYERS // pp:
        assert estimate.step_time_s[0] < estimate.step_time_s[1]
        assert activations[0] > activations[1]


def test_all_layers_recomputed_is_full_and_none_of_them_is_none() -> None:
    base = ParallelLayout(pp=2, dp=4, grad_accum=8)
    full = base.model_copy(update={"recompute": Recompute.FULL})
    layouts = [base, full, *(full.model_copy(update={"recompute_layers": k}) for k in (0, LAYERS // 2))]
    table = LayoutTable.of(*layouts)
    estimate = DENSE.estimate(table)
    for column in (estimate.step_time_s, estimate.executed_flops, needed_bytes(DENSE.memory(table))):
        assert column[2] == column[0]
        assert column[3] == column[1]


def test_stages_that_repeat_unlike_numbers_of_layers_are_counted_one_by_one() -> None:
    """Executed FLOPs: a third of a layer's for each repeated one (Korthikanti 2022, section 2)."""
    layout = ParallelLayout(
        pp=4,
        dp=2,
        grad_accum=16,
        recompute=Recompute.FULL,
        stage_layers=(2, 3, 3, 4),
        stage_recompute_layers=(2, 1, 9, 0),
    )
    executed = DENSE.estimate(LayoutTable.of(layout)).executed_flops.item()
    per_token = model_flops_per_token(DENSE.job.architecture, 256)
    one_layer = (per_token.matmul + per_token.attention) / LAYERS
    repeated = 2 + 1 + 3 + 0
    assert executed == pytest.approx((per_token.total + repeated * one_layer / 3) * 256 * 32)


def test_executed_flops_repeat_what_torch_does_not_keep() -> None:
    """Every second matmul of q, k, v, o, gate, up, down: k, o and up are repeated; attention's output is kept."""
    arch = model()
    cost = cost_model(job_of(arch), cluster_of("dgx-a100-pod", 8), load_stack("torchtitan"))
    table = LayoutTable.of(ParallelLayout(dp=8), ParallelLayout(dp=8, recompute=Recompute.SELECTIVE))
    executed = cost.estimate(table).executed_flops
    weights = arch.hidden * (arch.kv_heads * arch.head_dim + arch.heads * arch.head_dim + arch.ffn_hidden)
    assert executed[1] - executed[0] == pytest.approx(2 * arch.layers * weights * 256 * 8)
