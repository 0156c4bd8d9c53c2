"""The step's work on the measured device and links, before any constant of a software stack; and its times in a stack.

What one micro-batch of one block takes depends on few columns, so it is computed once for each distinct combination and
handed to the rows that share it. Only what depends on the whole layout is computed row by row, in NumPy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.block import BlockWork, block_parts, block_times
from glmplan.cost.collective import CollectiveModel
from glmplan.cost.estimate import TimeBreakdown
from glmplan.cost.overlap import exposed_s
from glmplan.cost.roofline import DeviceModel
from glmplan.layout.data_parallel import GradientBytes, data_communications
from glmplan.layout.parallel_layout import LayoutTable, Sharding
from glmplan.layout.pipeline_parallel import Stages, bubble_factor
from glmplan.layout.placement import is_sharding
from glmplan.layout.state_shards import StateShards, shard_divisors
from glmplan.software.stack import Stack
from glmplan.workload.graph import LAYER_KINDS, Block, BlockKind

Floats = npt.NDArray[np.float64]
DATA_COLUMNS = ("tp", "cp", "pp", "ep", "dp", "sharding", "shard_group", "grad_accum")
TIME_PARTS = tuple(TimeBreakdown.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepWork:
    """What the layouts of a table do in a step. Everything but the stack's constants is in it."""

    table: LayoutTable
    stages: Stages
    blocks: dict[BlockKind, BlockWork]
    """Over the distinct rows."""
    rows: npt.NDArray[np.int64]
    """Which distinct row each layout has."""
    counts: dict[BlockKind, int]
    """How often each block stands in the model."""
    transfer_s: Floats
    """All sends between pipeline stages."""
    data_s: Floats
    """All gradient and parameter collectives of the stage that sends most."""
    held_parameters: Floats
    """Whose optimizer state the fullest rank updates."""


def distinct(table: LayoutTable, columns: tuple[str, ...]) -> tuple[LayoutTable, npt.NDArray[np.int64]]:
    """Rows that differ in ``columns``, and for each row of ``table`` the one it equals there."""
    key = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        values, codes = np.unique(getattr(table, name), return_inverse=True)
        key = key * len(values) + codes
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return table.take(first), inverse


def data_seconds(
    table: LayoutTable,
    stages: Stages,
    shards: StateShards,
    collectives: CollectiveModel,
    width: GradientBytes,
    *,
    reduces_each_micro_batch: bool,
) -> Floats:
    """Seconds of all gradient and parameter collectives of the stage that sends most, none of them hidden."""
    unique, inverse = distinct(table, DATA_COLUMNS)
    first = np.unique(inverse, return_index=True)[1]
    heaviest = np.argmax(np.where(stages.exists, shards.dense + shards.experts, -1.0), axis=0)[first]
    layers = sum(counts for kind, counts in stages.counts.items() if kind in LAYER_KINDS)
    sent = np.zeros(len(unique))
    for message in data_communications(
        unique,
        shards.dense[heaviest, first],
        shards.experts[heaviest, first],
        np.asarray(layers)[heaviest, first] + 1.0,
        width,
        reduces_each_micro_batch=reduces_each_micro_batch,
    ):
        sent = sent + collectives.seconds(message) * message.count
    return sent[inverse]


def updated_parameters(table: LayoutTable, stages: Stages, shards: StateShards) -> Floats:
    """Parameters that the fullest rank's optimizer updates."""
    by = shard_divisors(table)
    held = np.where(stages.exists, shards.dense / by.optimizer + shards.experts / by.expert_optimizer, 0.0)
    return np.asarray(held.max(axis=0))


def block_counts(blocks: tuple[Block, ...]) -> dict[BlockKind, int]:
    """How often each block stands in the model."""
    return {block.kind: block.count for block in blocks}


def step_times(work: StepWork, device: DeviceModel, stack: Stack, launch_s: float) -> dict[str, Floats]:
    """Seconds by part. A micro-batch takes what the slowest stage takes; the bubble is the rest of one passage."""
    table, stages = work.table, work.stages
    times = {kind: block_times(block, stack, launch_s).take(work.rows) for kind, block in work.blocks.items()}
    per_block = {kind: block_parts(block, table, kind) for kind, block in times.items()}
    parts = {
        name: np.stack([sum(stages.counts[kind][s] * per_block[kind][name] for kind in per_block) for s in range(3)])
        for name in next(iter(per_block.values()))
    }
    stage_s = np.where(stages.exists, sum(parts.values()), 0.0)
    slowest, rows = np.argmax(stage_s, axis=0), np.arange(len(table))
    passage = sum(count * sum(per_block[kind].values()) for kind, count in work.counts.items())
    longest = stage_s[slowest, rows]
    m = table.grad_accum.astype(float)
    time = {name: np.zeros(len(table)) for name in TIME_PARTS}
    for name, values in parts.items():
        time[name] = m * values[slowest, rows]
    bubble_s = np.where(table.pp > 1, np.maximum(passage - longest, 0.0), 0.0)
    collective = stack["collective_time_factor"]
    weight_gradients = sum(count * times[kind].weight_gradient_s for kind, count in work.counts.items())
    time["pipeline_bubble_s"] = bubble_s * bubble_factor(table, np.asarray(weight_gradients / passage))
    time["pipeline_transfer_s"] = work.transfer_s * collective * stack["pipeline_exposed"]
    last_backward_s = parts["backward_s"][slowest, rows] + parts["recompute_s"][slowest, rows]
    layerwise = is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
    hiding_s = np.where(layerwise, longest * m, last_backward_s)
    time["data_parallel_s"] = np.asarray(exposed_s(work.data_s * collective, hiding_s, stack["data_parallel_exposed"]))
    time["optimizer_s"] = device.transfer_s(work.held_parameters * stack["optimizer_bytes_per_parameter"])
    time["other_s"] = np.full(len(table), stack["fixed_step_s"])
    return {name: values * stack["machine_derate"] for name, values in time.items()}
