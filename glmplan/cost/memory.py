"""Peak bytes of a rank: state, activations in flight, what is gathered, the loss, workspace and reserve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute, Sharding
from glmplan.layout.partition import RankBlock
from glmplan.layout.pipeline_parallel import Stages, in_flight
from glmplan.layout.placement import is_sharding
from glmplan.layout.state_shards import ShardDivisors, StateShards, shard_divisors
from glmplan.layout.tensor_parallel import sequence_divisor
from glmplan.precision import Precision
from glmplan.software.stack import Stack
from glmplan.workload.graph import LAYER_KINDS, BlockKind
from glmplan.workload.job import TrainingJob
from glmplan.workload.optimizer_state import STATE_BYTES

Floats = npt.NDArray[np.float64]
PARTS = (
    "parameters_bytes",
    "main_parameters_bytes",
    "gradients_bytes",
    "optimizer_bytes",
    "gathered_parameters_bytes",
    "activations_bytes",
    "loss_bytes",
    "workspace_bytes",
    "reserve_bytes",
)
PASSING_PARTS = ("gathered_parameters_bytes", "activations_bytes", "loss_bytes", "workspace_bytes")
"""What comes and goes within a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBytes:
    """Bytes that one block keeps for the backward pass of one micro-batch, under each row's recomputation."""

    kept: Floats
    working: Floats
    """What the block holds while it is recomputed and run backward, beyond ``kept``."""


def kept_bytes(rank_block: RankBlock, recompute: npt.NDArray[np.int64]) -> KeptBytes:
    """Korthikanti 2022 (arXiv:2205.05198, table 2) with the bytes of each operation instead of a formula per model."""
    everything = np.asarray(rank_block.kept_bytes, dtype=float)
    if rank_block.block.kind not in LAYER_KINDS:
        return KeptBytes(kept=everything, working=np.zeros_like(everything))
    some, entry = np.asarray(rank_block.selective_bytes), np.asarray(rank_block.input_bytes)
    selective, full = (recompute == RECOMPUTES.index(kind) for kind in (Recompute.SELECTIVE, Recompute.FULL))
    kept = np.where(full, entry, np.where(selective, some, everything))
    return KeptBytes(kept=kept, working=everything - kept)


def needed_bytes(memory: dict[str, Floats]) -> Floats:
    """What must fit on the device: the sum of PARTS."""
    return np.asarray(sum(memory[name] for name in PARTS))


def memory_parts(
    table: LayoutTable,
    job: TrainingJob,
    stack: Stack,
    stages: Stages,
    shards: StateShards,
    kept: dict[BlockKind, KeptBytes],
    element_bytes: float,
) -> dict[str, Floats]:
    """Bytes by part on the fullest stage at its fullest moment, and ``cached_bytes``, which is none of the parts:
    what the caching allocator holds on top, and gives back when memory is short. Arrays over layouts.

    Three moments can be the peak. *Loss*: all activations, and the logits. *Backward*: the activations, and what the
    layer that is run backward needs. *End*: the gradients are complete, the activations gone. Gradients that the
    stack allocates as they come do not stand beside the activations of a step's only micro-batch; the allocator has
    to find room for them nevertheless, which ``cached_bytes`` counts.
    """
    policy, by = stack.memory, shard_divisors(table)
    gradients = _gradient_bytes(job, stack) * (shards.dense / by.gradients + shards.experts / by.expert_gradients)
    parts = _resident(job, stack, shards, by, element_bytes)
    parts |= _passing(table, job, stack, stages, shards, kept, element_bytes)
    early = gradients * np.where((table.grad_accum > 1) | policy.preallocates_gradients, 1.0, 0.0)
    parts["gradients_bytes"] = np.stack([early, early, gradients])
    total = np.where(stages.exists, sum(parts.values()), -1.0)  # [moment, stage, layout]
    peak = np.argmax(total.reshape(9, len(table)), axis=0)
    rows = np.arange(len(table))
    at_peak = {name: np.broadcast_to(parts[name], total.shape).reshape(9, len(table))[peak, rows] for name in PARTS}
    passing = sum(at_peak[name] for name in PASSING_PARTS)
    late = gradients[peak % 3, rows] - at_peak["gradients_bytes"]
    cached = policy.cached + policy.fragmentation_fraction * passing + late
    return at_peak | {"cached_bytes": np.asarray(cached)}


def _resident(
    job: TrainingJob, stack: Stack, shards: StateShards, by: ShardDivisors, element_bytes: float
) -> dict[str, Floats]:
    """What is held throughout, over stages and layouts."""
    policy = stack.memory
    optimizer = shards.dense / by.optimizer + shards.experts / by.expert_optimizer
    return {
        "parameters_bytes": _stored_bytes(stack, element_bytes)
        * (shards.dense / by.parameters + shards.experts / by.expert_parameters),
        "main_parameters_bytes": policy.main_parameter_bytes * optimizer,
        "optimizer_bytes": STATE_BYTES[job.optimizer] * optimizer,
        "reserve_bytes": np.full_like(optimizer, policy.reserve),
    }


def _passing(
    table: LayoutTable,
    job: TrainingJob,
    stack: Stack,
    stages: Stages,
    shards: StateShards,
    kept: dict[BlockKind, KeptBytes],
    element_bytes: float,
) -> dict[str, Floats]:
    """What comes and goes, over moments, stages and layouts."""
    stage_kept = _activations(table, stages, kept)
    zero = np.zeros_like(stage_kept)
    gathered = _gathered(table, stack, shards, element_bytes)
    head_gradient, layer_gradient = _weight_gradients(table, job, stack, stages)
    backward = zero + _workspace(table, job, kept, element_bytes) + layer_gradient
    return {
        "activations_bytes": np.stack([stage_kept, stage_kept, zero]),
        "gathered_parameters_bytes": np.stack([_ends(table, job, shards, element_bytes), gathered, gathered]),
        "loss_bytes": np.stack([_loss(table, job, stack, stages), zero, zero]),
        "workspace_bytes": np.stack([head_gradient, backward, zero]),
    }


def _gradient_bytes(job: TrainingJob, stack: Stack) -> float:
    half = stack.memory.fp16_gradient_bytes
    return stack.memory.gradient_bytes if half is None or job.precision is not Precision.FP16 else half


def _stored_bytes(stack: Stack, element_bytes: float) -> float:
    """Of a parameter at rest: the fp32 master itself, or a copy in the compute format beside it."""
    return element_bytes if stack.memory.main_parameter_bytes else stack.memory.parameter_bytes


def _activations(table: LayoutTable, stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    per_micro_batch = sum(counts * kept[kind].kept for kind, counts in stages.counts.items())
    return np.asarray(per_micro_batch * in_flight(table, stages.position))


def _layerwise(table: LayoutTable) -> npt.NDArray[np.bool_]:
    return is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)


def _ends(table: LayoutTable, job: TrainingJob, shards: StateShards, element_bytes: float) -> Floats:
    """The head stays gathered from its forward to its backward pass, with the embedding where they are one matrix; of
    a pipeline the whole stage does."""
    ends = shards.ends if job.architecture.tied_embeddings else shards.ends / 2.0
    held = np.where(table.pp > 1, shards.dense + shards.experts, ends)
    return np.asarray(np.where(_layerwise(table), held * element_bytes, 0.0))


def _gathered(table: LayoutTable, stack: Stack, shards: StateShards, element_bytes: float) -> Floats:
    """While a layer runs backward: the ends and two layers unsharded (one in use, one prefetched), and the gradients
    of the largest unit, as they are computed and as they are reduced."""
    policy = stack.memory
    stage = shards.dense + shards.experts
    unit = np.maximum(shards.largest_layer, shards.ends)
    in_use = np.where(table.pp > 1, stage, np.minimum(shards.ends + 2 * shards.largest_layer, stage))
    gradient = np.minimum(unit, stage) * (element_bytes + policy.reduced_gradient_bytes)
    if not stack.support.reduces_each_micro_batch:
        gradient = np.where(table.grad_accum > 1, stage * policy.reduced_gradient_bytes, gradient)
    return np.asarray(np.where(_layerwise(table), in_use * element_bytes + gradient, 0.0))


def _loss(table: LayoutTable, job: TrainingJob, stack: Stack, stages: Stages) -> Floats:
    """Logits, their fp32 copies, softmax and gradient, as far as they stand together, on the stage with the head."""
    policy = stack.memory
    logits = table.micro_batch * job.seq_len / table.cp * job.architecture.vocab / table.tp
    split = policy.logit_bytes if policy.split_logit_bytes is None else policy.split_logit_bytes
    return np.asarray(stages.counts[BlockKind.HEAD] * logits * np.where(table.tp > 1, split, policy.logit_bytes))


def _weight_gradients(table: LayoutTable, job: TrainingJob, stack: Stack, stages: Stages) -> tuple[Floats, Floats]:
    """Of the head, and of a layer's largest matrix (gate and up are one), before they are added to their buffer."""
    arch, each = job.architecture, stack.memory.weight_gradient_bytes / table.tp
    gates = 2.0 if arch.gated_mlp else 1.0
    head = stages.counts[BlockKind.HEAD] * arch.vocab * arch.hidden * each
    layer = gates * arch.ffn_hidden * arch.hidden * each
    return np.asarray(head), np.broadcast_to(layer, head.shape)


def _workspace(table: LayoutTable, job: TrainingJob, kept: dict[BlockKind, KeptBytes], element_bytes: float) -> Floats:
    """The layer being recomputed, and the gradients of its widest tensors."""
    arch = job.architecture
    working = np.zeros(len(table))
    for block in kept.values():
        working = np.maximum(working, block.working)
    tokens = table.micro_batch * job.seq_len / table.cp
    width = arch.ffn_hidden if arch.moe is None else max(arch.ffn_hidden, arch.moe.expert_ffn_hidden * arch.moe.top_k)
    gradients = tokens * element_bytes * (2.0 * arch.hidden / sequence_divisor(table) + 2.0 * width / table.tp)
    return np.asarray(working + gradients)
