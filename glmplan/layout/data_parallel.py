"""Data parallelism: the collectives of one step for replicated, ZeRO, FSDP and hybrid sharding.

Replicated gradients are all-reduced once per step. ZeRO-1 and -2 scatter them and gather the parameters back
(Rajbhandari 2020, arXiv:1910.02054, section 7). ZeRO-3 and FSDP gather each layer for the forward and again for the
backward pass and scatter its gradients, micro-batch by micro-batch; with a pipeline the gathered stage is kept for the
step (torchtitan's default), so each happens once.
"""

from dataclasses import dataclass

import numpy as np

from glmplan.layout.communication import Collective, Communication, Group, Purpose
from glmplan.layout.parallel_layout import LayoutTable, Sharding
from glmplan.layout.placement import (
    data_group,
    expert_data_group,
    expert_shard_group,
    is_sharding,
    replicate_group,
    shard_group,
)
from glmplan.layout.stages import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientBytes:
    """Bytes per parameter as they travel."""

    gradient: float
    gathered: float
    stored: float


def data_communications(
    table: LayoutTable,
    dense: Floats,
    experts: Floats,
    units: Floats,
    width: GradientBytes,
    *,
    reduces_each_micro_batch: bool,
) -> list[Communication]:
    """Collectives of one step on one rank that holds ``dense`` and ``experts`` parameters in ``units`` layers.

    A unit's message is its share of the parameters; ``count`` says how many such messages a step has.
    """
    messages = _messages(
        table, "parameters", dense, units, data_group(table), shard_group(table), width, reduces_each_micro_batch
    )
    if not np.any(experts):
        return messages
    shards = expert_shard_group(table)
    return messages + _messages(
        table, "experts", experts, units, expert_data_group(table), shards, width, reduces_each_micro_batch
    )


def _messages(
    table: LayoutTable,
    name: str,
    parameters: Floats,
    units: Floats,
    everyone: Group,
    shard: Group,
    width: GradientBytes,
    reduces_each_micro_batch: bool,
) -> list[Communication]:
    replicated = is_sharding(table, Sharding.NONE)
    zero = is_sharding(table, Sharding.ZERO1, Sharding.ZERO2)
    layerwise = is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
    hybrid = is_sharding(table, Sharding.HSDP)
    per_unit = parameters / np.maximum(units, 1.0)
    passes = np.where(table.pp > 1, 1.0, table.grad_accum)
    reductions = passes if reduces_each_micro_batch else np.ones_like(passes)
    gathers = np.where(table.pp > 1, 1.0, 2.0 * passes)

    def send(
        part: str, collective: Collective, bytes_: Floats, group: Group, rows: np.ndarray, count: Floats
    ) -> Communication:
        return Communication(
            name=f"{name}_{part}",
            purpose=Purpose.DATA,
            collective=collective,
            bytes=np.where(rows, bytes_, 0.0),
            group=group,
            backward=True,
            count=np.where(rows, count, 0.0),
        )

    once = np.ones_like(per_unit)
    shard_bytes = per_unit * width.gradient / np.maximum(shard.ranks, 1.0)
    return [
        send("gradients", Collective.ALL_REDUCE, parameters * width.gradient, everyone, replicated, once),
        send("gradient_shards", Collective.REDUCE_SCATTER, parameters * width.gradient, everyone, zero, once),
        send("updated", Collective.ALL_GATHER, parameters * width.stored, everyone, zero, once),
        send("gathered", Collective.ALL_GATHER, per_unit * width.gathered, shard, layerwise, units * gathers),
        send("scattered", Collective.REDUCE_SCATTER, per_unit * width.gradient, shard, layerwise, units * reductions),
        send("replicas", Collective.ALL_REDUCE, shard_bytes, replicate_group(table), hybrid, units * reductions),
    ]
