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
    """Bytes by part on the fullest of the first, an inner and the last stage. Arrays over layouts."""
    policy, by = stack.memory, shard_divisors(table)
    master = policy.main_parameter_bytes
    part = {
        "parameters_bytes": policy.parameter_bytes
        * (shards.dense / by.parameters + shards.experts / by.expert_parameters),
        "main_parameters_bytes": master * (shards.dense / by.optimizer + shards.experts / by.expert_optimizer),
        "gradients_bytes": policy.gradient_bytes * (shards.dense / by.gradients + shards.experts / by.expert_gradients),
        "optimizer_bytes": STATE_BYTES[job.optimizer]
        * (shards.dense / by.optimizer + shards.experts / by.expert_optimizer),
        "gathered_parameters_bytes": _gathered(table, stack, shards),
        "activations_bytes": _activations(table, stages, kept) * (1.0 + policy.fragmentation_fraction),
    }
    part["loss_bytes"] = _loss(table, job, stack, stages, element_bytes)
    part["workspace_bytes"] = _workspace(table, job, kept, element_bytes) + np.zeros_like(part["loss_bytes"])
    part["reserve_bytes"] = np.full_like(part["loss_bytes"], policy.reserve)
    total = np.where(stages.exists, sum(part.values()), -1.0)
    fullest = np.argmax(total, axis=0)
    rows = np.arange(len(table))
    return {name: np.broadcast_to(values, total.shape)[fullest, rows] for name, values in part.items()}


def _activations(table: LayoutTable, stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    per_micro_batch = sum(counts * kept[kind].kept for kind, counts in stages.counts.items())
    return np.asarray(per_micro_batch * in_flight(table, stages.position))


def _gathered(table: LayoutTable, stack: Stack, shards: StateShards) -> Floats:
    """FSDP: the ends of the model and two layers unsharded, one layer's gradients; the whole stage with a pipeline."""
    policy = stack.memory
    layerwise = is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
    stage = shards.dense + shards.experts
    unit = np.maximum(shards.largest_layer, shards.ends)
    in_use = np.where(table.pp > 1, stage, np.minimum(shards.ends + 2 * shards.largest_layer, stage))
    bytes_ = in_use * policy.gathered_parameter_bytes + np.minimum(unit, stage) * policy.reduced_gradient_bytes
    if not stack.support.reduces_each_micro_batch:
        bytes_ = np.where(table.grad_accum > 1, bytes_ + stage * policy.reduced_gradient_bytes, bytes_)
    return np.asarray(np.where(layerwise, bytes_, 0.0))


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
