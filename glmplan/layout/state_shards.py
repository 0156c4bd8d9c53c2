"""How many parameters one rank of each stage holds, and by how much data parallelism divides state."""

from dataclasses import dataclass

import numpy as np

from glmplan.architecture.parameters import layer_parameters, parameter_counts
from glmplan.architecture.transformer import Architecture
from glmplan.layout.parallel_layout import LayoutTable, Sharding
from glmplan.layout.placement import expert_shard_group, expert_tp, is_sharding
from glmplan.layout.stages import Floats, Stages
from glmplan.workload.graph import BlockKind


@dataclass(frozen=True, slots=True, kw_only=True)
class StateShards:
    """Parameters on one rank after tensor, pipeline and expert parallelism; ``[3, layouts]`` or ``[layouts]``."""

    dense: Floats
    """Of a stage, all but routed experts."""
    experts: Floats
    """Routed experts of a stage."""
    largest_layer: Floats
    """Dense and expert parameters of the largest layer."""
    ends: Floats
    """Of a stage: embedding, head and final norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardDivisors:
    """By how much data parallelism divides each kind of state; experts have fewer data-parallel ranks."""

    parameters: Floats
    gradients: Floats
    optimizer: Floats
    expert_parameters: Floats
    expert_gradients: Floats
    expert_optimizer: Floats


def state_shards(arch: Architecture, table: LayoutTable, stages: Stages) -> StateShards:
    """Parameters that one rank of each stage holds before data-parallel sharding."""
    tp, ep = table.tp.astype(float), table.ep.astype(float)
    layer, total = layer_parameters(arch), parameter_counts(arch)
    attention = (layer.attention - layer.attention_replicated) / tp + layer.attention_replicated + layer.norms
    dense_mlp = layer.dense_mlp / tp
    expert_dense = layer.router + layer.shared_experts / tp
    routed = layer.routed_experts / expert_tp(table) / ep
    per_kind = {
        BlockKind.DENSE_LAYER: attention + dense_mlp,
        BlockKind.EXPERT_LAYER: attention + expert_dense,
        BlockKind.CROSS_LAYER: attention + dense_mlp + layer.cross_attention / tp + layer.cross_norms,
    }
    # With tied embeddings the last of several stages holds a copy of the first one's table.
    table_width = arch.vocab * arch.hidden
    copy = np.where(table.pp > 1, table_width, 0.0) if arch.tied_embeddings else 0.0
    ends = stages.counts[BlockKind.EMBEDDING] * (total.embedding / tp + total.position)
    layer_norms = (arch.total_layers + arch.mtp_layers) * layer.norms + arch.decoder_layers * layer.cross_norms
    outer_norms = total.norms - layer_norms
    ends = ends + stages.counts[BlockKind.HEAD] * ((total.head + copy) / tp + outer_norms)
    dense = ends + sum(counts * per_kind[kind] for kind, counts in stages.counts.items() if kind in per_kind)
    experts = stages.counts.get(BlockKind.EXPERT_LAYER, np.zeros_like(ends)) * routed
    held = [per_kind[kind] for kind in stages.counts if kind in per_kind]
    largest = held[0]
    for kind in stages.counts:
        if kind in per_kind:
            candidate = per_kind[kind] + (routed if kind is BlockKind.EXPERT_LAYER else 0.0)
            largest = np.maximum(largest, candidate)
    return StateShards(
        dense=np.asarray(dense, dtype=float),
        experts=np.asarray(experts, dtype=float),
        largest_layer=np.asarray(largest, dtype=float),
        ends=np.asarray(ends, dtype=float),
    )


def shard_divisors(table: LayoutTable) -> ShardDivisors:
    """Rajbhandari 2020 (arXiv:1910.02054, section 5) for the ZeRO stages; HSDP divides by its shard group."""
    group = table.shard_group.astype(float)
    parameters = is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
    gradients = parameters | is_sharding(table, Sharding.ZERO2)
    optimizer = gradients | is_sharding(table, Sharding.ZERO1)
    expert_group = np.asarray(expert_shard_group(table).ranks)

    def divisors(mask: np.ndarray, size: Floats) -> Floats:
        return np.where(mask, size, 1.0)

    return ShardDivisors(
        parameters=divisors(parameters, group),
        gradients=divisors(gradients, group),
        optimizer=divisors(optimizer, group),
        expert_parameters=divisors(parameters, expert_group),
        expert_gradients=divisors(gradients, expert_group),
        expert_optimizer=divisors(optimizer, expert_group),
    )
