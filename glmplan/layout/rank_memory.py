"""What one rank of each stage holds at rest and in passing, in parameters and elements: no bytes of a stack, no
technique. ``cost`` makes bytes and the peak of it.
"""

from dataclasses import dataclass

import numpy as np

from glmplan.layout.host_offload import gradients_leave_early, layers_on_device, offloads_optimizer
from glmplan.layout.parallel_layout import LayoutTable, Sharding
from glmplan.layout.pipeline_parallel import in_flight
from glmplan.layout.placement import is_sharding
from glmplan.layout.stages import Floats, Mask, Stages, split_into_stages
from glmplan.layout.state_shards import StateShards, shard_divisors, state_shards
from glmplan.layout.tensor_parallel import sequence_divisor
from glmplan.workload.graph import Block
from glmplan.workload.job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RankState:
    """Parameters by what is held of them, ``[stages, layouts]``."""

    stored: Floats
    """At rest."""
    updated: Floats
    """Whose main copy and optimizer state are on the device."""
    graded: Floats
    """Whose gradients are on the device once all of them are complete."""
    hosted: Floats
    """Whose main copy, optimizer state and gradients are on the host."""
    gathered_at_loss: Floats
    """Whole while the loss is computed, beyond what is stored."""
    gathered_in_backward: Floats
    """Whole while a layer runs backward."""
    gradients_computed: Floats
    """Whose whole gradients stand in the compute format before they are reduced."""
    gradients_reduced: Floats
    """The same in the format in which they are reduced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transients:
    """Tensors of one micro-batch on one rank, arrays over layouts."""

    logits: Floats
    """Elements."""
    vocabulary_is_split: Mask
    head_weights: Floats
    """Of the matrix to the vocabulary."""
    widest_weights: Floats
    """Of a layer's largest matmul (gate and up are one)."""
    widest_gradients: Floats
    """Elements of the gradients that stand together in the widest part of a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """What each stage's ranks hold."""

    stages: Stages
    in_flight: Floats
    """Micro-batches whose activations a stage holds at once, ``[stages, layouts]``."""
    accumulates: Mask
    """Gradients of earlier micro-batches stand beside the activations of later ones."""
    state: RankState
    transients: Transients
    layers_on_device: Floats
    """Layers whose activations are on the device at most; the others' are on the host."""


def rank_memory(
    blocks: tuple[Block, ...],
    table: LayoutTable,
    job: TrainingJob,
    *,
    reduces_each_micro_batch: bool,
    stages: Stages | None = None,
) -> RankMemory:
    """What the ranks of each layout hold. ``reduces_each_micro_batch``: FSDP does so, not once at the end.

    ``stages`` replaces those that the layouts say.
    """
    stages = stages or split_into_stages(blocks, table)
    shards = state_shards(job.architecture, table, stages)
    return RankMemory(
        stages=stages,
        in_flight=in_flight(table, stages.position),
        accumulates=table.grad_accum > 1,
        state=rank_state(table, job, shards, reduces_each_micro_batch=reduces_each_micro_batch),
        transients=_transients(table, job),
        layers_on_device=layers_on_device(table),
    )


def rank_state(
    table: LayoutTable, job: TrainingJob, shards: StateShards, *, reduces_each_micro_batch: bool
) -> RankState:
    """What data parallelism leaves of ``shards`` on each rank, and what it gathers for a while.

    Layer by layer (ZeRO-3, FSDP), the head stays gathered from its forward to its backward pass, with the embedding
    where they are one matrix. A layer runs backward beside the ends and the layer prefetched; the gradients of the
    largest unit stand as they are computed and as they are reduced. A pipeline keeps its whole stage gathered.
    """
    by, layerwise = shard_divisors(table), is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
    stage = shards.dense + shards.experts
    ends = shards.ends if job.architecture.tied_embeddings else shards.ends / 2.0
    two_layers = np.minimum(shards.ends + 2 * shards.largest_layer, stage)
    unit = np.minimum(np.maximum(shards.largest_layer, shards.ends), stage)
    updated, on_host = updated_parameters(table, shards), offloads_optimizer(table)
    graded = shards.dense / by.gradients + shards.experts / by.expert_gradients
    kept_whole = (table.grad_accum > 1) & (not reduces_each_micro_batch)
    return RankState(
        stored=shards.dense / by.parameters + shards.experts / by.expert_parameters,
        updated=np.where(on_host, 0.0, updated),
        graded=np.where(gradients_leave_early(table), 0.0, graded),
        hosted=np.where(on_host, updated, 0.0),
        gathered_at_loss=np.where(layerwise, np.where(table.pp > 1, stage, ends), 0.0),
        gathered_in_backward=np.where(layerwise, np.where(table.pp > 1, stage, two_layers), 0.0),
        gradients_computed=np.where(layerwise & ~kept_whole, unit, 0.0),
        gradients_reduced=np.where(layerwise, np.where(kept_whole, stage, unit), 0.0),
    )


def updated_parameters(table: LayoutTable, shards: StateShards) -> Floats:
    """Parameters of each stage whose optimizer state belongs to one rank, on the device or on the host."""
    by = shard_divisors(table)
    return np.asarray(shards.dense / by.optimizer + shards.experts / by.expert_optimizer)


def _transients(table: LayoutTable, job: TrainingJob) -> Transients:
    arch, tp = job.architecture, table.tp
    tokens = table.micro_batch * job.seq_len / table.cp
    width = arch.ffn_hidden if arch.moe is None else max(arch.ffn_hidden, arch.moe.expert_ffn_hidden * arch.moe.top_k)
    gates = 2.0 if arch.gated_mlp else 1.0
    return Transients(
        logits=tokens * arch.vocab / tp,
        vocabulary_is_split=tp > 1,
        head_weights=arch.vocab * arch.hidden / tp,
        widest_weights=gates * arch.ffn_hidden * arch.hidden / tp,
        widest_gradients=tokens * (2.0 * arch.hidden / sequence_divisor(table) + 2.0 * width / tp),
    )
