"""Peak bytes of a rank: state, activations in flight, what is gathered, the loss, workspace and reserve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute, Sharding
from glmplan.layout.partition import RankBlock
from glmplan.layout.pipeline_parallel import Stages, in_flight
from glmplan.layout.placement import is_sharding
from glmplan.layout.state_shards import StateShards, shard_divisors
from glmplan.layout.tensor_parallel import sequence_divisor
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
    core, entry = np.asarray(rank_block.kept_core_bytes), np.asarray(rank_block.input_bytes)
    selective, full = (recompute == RECOMPUTES.index(kind) for kind in (Recompute.SELECTIVE, Recompute.FULL))
    kept = np.where(full, entry, np.where(selective, everything - core, everything))
    working = np.where(full, everything - entry, np.where(selective, core, 0.0))
    return KeptBytes(kept=kept, working=working)


def memory_parts(
    table: LayoutTable,
    job: TrainingJob,
    stack: Stack,
    stages: Stages,
    shards: StateShards,
    kept: dict[BlockKind, KeptBytes],
    element_bytes: float,
) -> dict[str, Floats]:
    """Bytes by part at the peak: the fullest stage at its fullest moment. Arrays over layouts.

    Three moments can be the peak. *Loss*: all activations, and the logits. *Backward*: the activations, and what the
    layer that is run backward needs. *Update*: the gradients are complete, the activations gone. Gradients that the
    stack allocates as they come do not stand beside the activations of a step's only micro-batch.
    """
    policy, by = stack.memory, shard_divisors(table)
    stage_kept = _activations(table, stages, kept) * (1.0 + policy.fragmentation_fraction)
    gathered, unit_gradient = _gathered(table, stack, shards, element_bytes)
    gradients = policy.gradient_bytes * (shards.dense / by.gradients + shards.experts / by.expert_gradients)
    early = gradients * np.where((table.grad_accum > 1) | policy.preallocates_gradients, 1.0, 0.0)
    zero = np.zeros_like(stage_kept)
    always = {
        "parameters_bytes": _stored_bytes(stack, element_bytes)
        * (shards.dense / by.parameters + shards.experts / by.expert_parameters),
        "main_parameters_bytes": policy.main_parameter_bytes
        * (shards.dense / by.optimizer + shards.experts / by.expert_optimizer),
        "optimizer_bytes": STATE_BYTES[job.optimizer]
        * (shards.dense / by.optimizer + shards.experts / by.expert_optimizer),
        "reserve_bytes": zero + policy.reserve,
    }
    loss = _loss(table, job, stack, stages, element_bytes)
    workspace = zero + _workspace(table, job, kept, element_bytes)
    layers = gathered + unit_gradient
    moments = {
        "gradients_bytes": (early, early, gradients),
        "activations_bytes": (stage_kept, stage_kept, zero),
        "gathered_parameters_bytes": (_ends(table, shards, element_bytes), layers, zero),
        "loss_bytes": (loss, zero, zero),
        "workspace_bytes": (zero, workspace, zero),
    }
    parts = {name: np.stack([values] * 3) for name, values in always.items()}
    parts |= {name: np.stack(values) for name, values in moments.items()}
    total = np.where(stages.exists, sum(parts.values()), -1.0)  # [moment, stage, layout]
    peak = np.argmax(total.reshape(9, len(table)), axis=0)
    rows = np.arange(len(table))
    return {name: parts[name].reshape(9, len(table))[peak, rows] for name in PARTS}


def _stored_bytes(stack: Stack, element_bytes: float) -> float:
    """Of a parameter at rest: the fp32 master itself, or a copy in the compute format beside it."""
    return element_bytes if stack.memory.main_parameter_bytes else stack.memory.parameter_bytes


def _activations(table: LayoutTable, stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    per_micro_batch = sum(counts * kept[kind].kept for kind, counts in stages.counts.items())
    return np.asarray(per_micro_batch * in_flight(table, stages.position))


def _layerwise(table: LayoutTable) -> npt.NDArray[np.bool_]:
    return is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)


def _ends(table: LayoutTable, shards: StateShards, element_bytes: float) -> Floats:
    """The embedding and the head stay gathered from the forward to the backward pass; a pipeline's stage does whole."""
    held = np.where(table.pp > 1, shards.dense + shards.experts, shards.ends)
    return np.asarray(np.where(_layerwise(table), held * element_bytes, 0.0))


def _gathered(table: LayoutTable, stack: Stack, shards: StateShards, element_bytes: float) -> tuple[Floats, Floats]:
    """While a layer runs backward: the ends and two layers unsharded (one in use, one prefetched); its gradients."""
    policy = stack.memory
    stage = shards.dense + shards.experts
    unit = np.maximum(shards.largest_layer, shards.ends)
    in_use = np.where(table.pp > 1, stage, np.minimum(shards.ends + 2 * shards.largest_layer, stage))
    gradient = np.minimum(unit, stage) * policy.reduced_gradient_bytes
    if not stack.support.reduces_each_micro_batch:
        gradient = np.where(table.grad_accum > 1, stage * policy.reduced_gradient_bytes, gradient)
    layerwise = _layerwise(table)
    return np.where(layerwise, in_use * element_bytes, 0.0), np.where(layerwise, gradient, 0.0)


def _loss(table: LayoutTable, job: TrainingJob, stack: Stack, stages: Stages, element_bytes: float) -> Floats:
    """Logits in the activation format, their fp32 copy, its softmax, and the gradient, on the stage with the head."""
    logits = table.micro_batch * job.seq_len / table.cp * job.architecture.vocab / table.tp
    per_logit = element_bytes if stack.kernels.fused_loss else element_bytes + 8.0
    return np.asarray(stages.counts[BlockKind.HEAD] * logits * per_logit)


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
