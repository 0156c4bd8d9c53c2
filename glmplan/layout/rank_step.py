"""What one rank of each stage does in a step, and in what order: blocks, messages, what hides behind what. No seconds,
no technique: the one thing that ``cost`` prices.
"""

from dataclasses import dataclass

import numpy as np

from glmplan.layout.communication import Communication
from glmplan.layout.data_parallel import GradientBytes, data_communications
from glmplan.layout.distinct import first_rows
from glmplan.layout.host_offload import HostExchange, host_exchange, offloads_optimizer
from glmplan.layout.parallel_layout import Ints, LayoutTable, Sharding
from glmplan.layout.partition import element_bytes_of
from glmplan.layout.pipeline_parallel import Bubble, bubble, stage_transfers
from glmplan.layout.placement import is_sharding
from glmplan.layout.rank_memory import updated_parameters
from glmplan.layout.stages import Floats, Mask, Stages, split_into_stages
from glmplan.layout.state_shards import StateShards, state_shards
from glmplan.layout.tensor_parallel import sequence_divisor
from glmplan.software.stack import Stack
from glmplan.workload.graph import LAYER_KINDS, Block
from glmplan.workload.job import TrainingJob
from glmplan.workload.quantisation import gathered_parameter_bytes

DATA_COLUMNS = ("tp", "cp", "pp", "ep", "expert_tp", "dp", "sharding", "shard_group", "grad_accum", "stage_layers")
"""Columns that change the messages of data-parallel ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStep:
    """Arrays over layouts, or ``[stages, layouts]``."""

    stages: Stages
    micro_batches: Floats
    """In a step, one after the other."""
    bubble: Bubble
    boundary: tuple[Communication, ...]
    """All that a stage receives from its neighbours."""
    transfers: Floats
    """Messages between stages that one rank receives."""
    devices: Floats
    """That wait for each other in every step."""
    data: tuple[Communication, ...]
    """Messages of gradients and parameters of the stage that has most of them, over the distinct rows."""
    data_rows: Ints
    """Which distinct row each layout has."""
    hides_behind_all: Mask
    """The messages in ``data`` come layer by layer and hide behind the whole step, not behind its last backward pass
    only."""
    updated: Floats
    """Parameters whose optimizer state the fullest rank's device updates."""
    host: HostExchange | None
    """None where no layout offloads anything."""


def rank_step(blocks: tuple[Block, ...], table: LayoutTable, job: TrainingJob, stack: Stack) -> RankStep:
    """What the layouts of ``table`` do."""
    stages = split_into_stages(blocks, table)
    shards = state_shards(job.architecture, table, stages)
    support = stack.support
    element_bytes = element_bytes_of(job)
    tokens = table.micro_batch * job.seq_len / table.cp / sequence_divisor(table)
    width = GradientBytes(
        gradient=stack.memory.reduced_gradient_bytes,
        gathered=gathered_parameter_bytes(job, stack.kernels),
        stored=element_bytes,
    )
    data, data_rows = _data_messages(
        table, stages, shards, width, reduces_each_micro_batch=support.reduces_each_micro_batch
    )
    updated = updated_parameters(table, shards)
    return RankStep(
        stages=stages,
        micro_batches=table.grad_accum.astype(float),
        bubble=bubble(table),
        boundary=stage_transfers(
            table, tokens * job.architecture.hidden * element_bytes, split=stack.policy.splits_stage_transfers
        ),
        transfers=np.where(table.pp > 1, 2.0 * table.grad_accum * table.virtual_stages, 0.0),
        devices=table.world_size.astype(float),
        data=data,
        data_rows=data_rows,
        hides_behind_all=is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP),
        updated=np.where(stages.exists & ~offloads_optimizer(table), updated, 0.0).max(axis=0),
        host=host_exchange(table, stages, updated),
    )


def _data_messages(
    table: LayoutTable, stages: Stages, shards: StateShards, width: GradientBytes, *, reduces_each_micro_batch: bool
) -> tuple[tuple[Communication, ...], Ints]:
    """Messages of each layout's heaviest stage."""
    first, inverse = first_rows(table, DATA_COLUMNS)
    unique = table.take(first)
    heaviest = np.argmax(np.where(stages.exists, shards.dense + shards.experts, -1.0), axis=0)[first]
    layers = np.asarray(sum(counts for kind, counts in stages.counts.items() if kind in LAYER_KINDS))
    messages = data_communications(
        unique,
        shards.dense[heaviest, first],
        shards.experts[heaviest, first],
        layers[heaviest, first] + 1.0,
        width,
        reduces_each_micro_batch=reduces_each_micro_batch,
    )
    return tuple(messages), inverse
