"""Peak memory: what must never grow, and the accounts of papers."""

import itertools

import numpy as np
import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.parameters import layer_parameters, parameter_counts
from glmplan.cost.memory import PARTS, needed_bytes
from glmplan.cost.step import cost_model
from glmplan.layout.parallel_layout import CODES, LayoutTable, ParallelLayout, Recompute, Sharding
from glmplan.precision import Precision
from glmplan.software.catalog import load_stack
from tests.small_jobs import MODELS, cluster_of, costs, job_of, legal_layouts, model, some_of

STATE = ("parameters_bytes", "main_parameters_bytes", "gradients_bytes", "optimizer_bytes")


def with_column(table: LayoutTable, **columns: int) -> LayoutTable:
    """``table`` with one value in some columns."""
    fixed = {name: np.full(len(table), value, dtype=np.int64) for name, value in columns.items()}
    return LayoutTable(**(table.columns() | fixed))


@pytest.mark.parametrize("kind", MODELS)
def test_recomputing_more_never_needs_more_memory(kind: str) -> None:
    table = some_of(legal_layouts(kind), 300, seed=4)
    peaks = []
    for kind_of in (Recompute.FULL, Recompute.SELECTIVE, Recompute.NONE):
        memory = costs(kind).memory(with_column(table, recompute=CODES["recompute"].index(kind_of)))
        peaks.append(needed_bytes(memory))
    for less, more in itertools.pairwise(peaks):
        assert (less <= more * (1 + 1e-12)).all()


@pytest.mark.parametrize("stack", ["megatron-core", "megatron-lm-2022", "torchtitan"])
def test_sequence_parallelism_never_needs_more_memory(stack: str) -> None:
    table = legal_layouts("dense", 16, "megatron-core")
    table = some_of(table.take(table.sequence_parallel == 1), 300, seed=5)
    with_it = costs("dense", 16, stack).memory(table)
    without = costs("dense", 16, stack).memory(with_column(table, sequence_parallel=0))
    for part in ("activations_bytes", "workspace_bytes"):
        assert (with_it[part] <= without[part] * (1 + 1e-12)).all()
    assert (with_it["activations_bytes"] < without["activations_bytes"]).any()


@pytest.mark.parametrize("kind", MODELS)
def test_each_stage_of_zero_holds_no_more_state_than_the_one_before(kind: str) -> None:
    table = legal_layouts(kind)
    table = some_of(table.take((table.pp == 1) & (table.dp * table.cp > 1)), 200, seed=6)
    held = []
    for sharding in (Sharding.NONE, Sharding.ZERO1, Sharding.ZERO2, Sharding.ZERO3):
        columns = table.columns() | {"sharding": np.full(len(table), CODES["sharding"].index(sharding), dtype=np.int64)}
        columns["shard_group"] = np.ones_like(table.dp) if sharding is Sharding.NONE else table.dp * table.cp
        memory = costs(kind).memory(LayoutTable(**columns))
        held.append(np.asarray(sum(memory[part] for part in STATE)))
    for less, more in zip(held[1:], held, strict=False):
        assert (less < more).all()


@pytest.mark.parametrize(
    ("sharding", "gigabytes"), [("none", 120.0), ("zero1", 31.4), ("zero2", 16.6), ("zero3", 1.88)]
)
def test_model_states_of_a_7_5b_model_on_64_devices(sharding: str, gigabytes: float) -> None:
    """Rajbhandari 2020 (arXiv:1910.02054, figure 1): 7.5 billion parameters, 64 ranks, 2 + 2 + 12 bytes."""
    stack = load_stack("deepspeed")
    arch = load_architecture("llama2-7b")
    layout = ParallelLayout(dp=64, sharding=Sharding(sharding), shard_group=1 if sharding == "none" else 64)
    job = job_of(arch, global_batch=64, precision=Precision.FP16)
    memory = cost_model(job, cluster_of("dgx-a100-pod", 64), stack).memory(LayoutTable.of(layout))
    state = sum(memory[part].item() for part in STATE)
    parameters = memory["optimizer_bytes"].item() / 8 * (1 if sharding == "none" else 64)
    assert state * 7.5e9 / parameters == pytest.approx(gigabytes * 1e9, rel=0.01)


def peak_of(layout: ParallelLayout, stack_name: str, **job_fields: int) -> dict[str, float]:
    """Parts of the peak of a small dense model on eight devices."""
    job = job_of(model(), **job_fields)
    memory = cost_model(job, cluster_of("dgx-a100-pod", 8), load_stack(stack_name)).memory(LayoutTable.of(layout))
    return {part: values.item() for part, values in memory.items()}


def test_the_peak_is_the_fullest_moment() -> None:
    """By hand: with long sequences the loss or the backward pass, with short ones the update with all gradients."""
    parameters = parameter_counts(model()).total
    long = peak_of(ParallelLayout(dp=8, grad_accum=1), "torchtitan", seq_len=8192)
    short = peak_of(ParallelLayout(dp=8, grad_accum=1), "torchtitan", seq_len=8)
    assert long["activations_bytes"] > 0
    assert long["loss_bytes"] + long["workspace_bytes"] > 0
    assert long["gradients_bytes"] == 0  # they come while the activations of the only micro-batch go
    assert short["activations_bytes"] == short["loss_bytes"] == short["workspace_bytes"] == 0
    assert short["gradients_bytes"] == 4 * parameters
    accumulated = peak_of(ParallelLayout(dp=4, tp=2, grad_accum=2), "torchtitan", seq_len=8192)
    assert accumulated["gradients_bytes"] > 0
    assert accumulated["activations_bytes"] > 0


def test_sharded_layers_are_gathered_two_at_a_time() -> None:
    """FSDP2, backward: the ends of the model, the layer in use and the one prefetched; the largest unit's gradient in
    the compute format and as it is reduced, in fp32."""
    arch = model()
    layer = layer_parameters(arch)
    one_layer = layer.attention + layer.norms + layer.dense_mlp
    ends = parameter_counts(arch).total - arch.layers * one_layer
    layout = ParallelLayout(dp=8, sharding=Sharding.FSDP, shard_group=8, recompute=Recompute.FULL)
    peak = peak_of(layout, "torchtitan", seq_len=128)
    assert peak["gathered_parameters_bytes"] == 2 * (ends + 2 * one_layer) + (2 + 4) * max(ends, one_layer)


def test_a_mixture_of_experts_divides_its_experts_over_expert_ranks() -> None:
    """Megatron-Core: experts are held once in every ``ep`` ranks, everything else on each of them."""
    table = LayoutTable.of(*[ParallelLayout(dp=8, ep=ep) for ep in (1, 2, 4)])
    held = costs("experts", 8).memory(table)["parameters_bytes"] / 2
    arch = costs("experts", 8).job.architecture
    assert arch.moe is not None
    routed = arch.layers * arch.moe.experts * 3 * arch.hidden * arch.moe.expert_ffn_hidden
    assert held[0] - held[1] == pytest.approx(routed / 2)
    assert held[1] - held[2] == pytest.approx(routed / 4)


def test_routed_activations_do_not_shrink_with_expert_parallelism() -> None:
    table = LayoutTable.of(*[ParallelLayout(dp=8, ep=ep) for ep in (1, 2, 4)])
    activations = costs("experts", 8).memory(table)["activations_bytes"]
    assert (np.diff(activations) > 0).all()  # the fullest of more ranks is fuller
    assert activations == pytest.approx(np.full(3, activations[0]), rel=0.1)


def test_every_part_has_a_value_for_every_layout() -> None:
    table = legal_layouts("experts")
    memory = costs("experts").memory(table)
    assert tuple(memory) == (*PARTS, "cached_bytes", "host_bytes")
    assert all(values.shape == (len(table),) and np.isfinite(values).all() for values in memory.values())
