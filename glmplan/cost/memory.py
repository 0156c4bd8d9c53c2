"""Peak bytes of a rank: state, activations in flight, what is gathered, the loss, workspace and reserve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.partition import RankBlock
from glmplan.layout.rank_memory import RankMemory, RankState, Transients
from glmplan.layout.stages import Stages
from glmplan.precision import Precision
from glmplan.software.stack import Stack
from glmplan.workload.graph import LAYER_KINDS, BlockKind
from glmplan.workload.job import TrainingJob
from glmplan.workload.optimizer_state import MAIN_BYTES, STATE_BYTES

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
    """Bytes that one block keeps for the backward pass of one micro-batch, by what of it is repeated."""

    everything: Floats
    """Nothing is repeated."""
    selectively: Floats
    """Some operations are."""
    entry: Floats
    """All are: the block's input."""

    def take(self, rows: npt.NDArray[np.int64]) -> "KeptBytes":
        """Those of the layouts at ``rows``."""
        return KeptBytes(everything=self.everything[rows], selectively=self.selectively[rows], entry=self.entry[rows])


def kept_bytes(rank_block: RankBlock) -> KeptBytes:
    """Korthikanti 2022 (arXiv:2205.05198, table 2) with the bytes of each operation instead of a formula per model."""
    everything = np.asarray(rank_block.kept_bytes, dtype=float)
    if rank_block.block.kind not in LAYER_KINDS:
        return KeptBytes(everything=everything, selectively=everything, entry=everything)
    return KeptBytes(
        everything=everything,
        selectively=np.asarray(rank_block.selective_bytes, dtype=float),
        entry=np.asarray(rank_block.input_bytes, dtype=float),
    )


def needed_bytes(memory: dict[str, Floats]) -> Floats:
    """What must fit on the device: the sum of PARTS."""
    return np.asarray(sum(memory[name] for name in PARTS))


def memory_parts(
    held: RankMemory, job: TrainingJob, stack: Stack, kept: dict[BlockKind, KeptBytes], element_bytes: float
) -> dict[str, Floats]:
    """Bytes by part on the fullest stage at its fullest moment. Arrays over layouts.

    None of the parts are ``cached_bytes``, what the caching allocator holds on top and gives back when memory is short,
    and ``host_bytes``, what one rank has in the host's memory.

    Three moments can be the peak. *Loss*: all activations, and the logits. *Backward*: the activations, and what the
    layer that is run backward needs. *End*: the gradients are complete, the activations gone. Gradients that the
    stack allocates as they come do not stand beside the activations of a step's only micro-batch; the allocator has
    to find room for them nevertheless, which ``cached_bytes`` counts.
    """
    policy, (num_stages, num_layouts) = stack.memory, held.in_flight.shape
    gradients = _gradient_bytes(job, stack) * held.state.graded
    parts = moment_parts(held, job, stack, kept, element_bytes)
    total = np.where(held.stages.exists, sum(parts.values()), -1.0)  # [moment, stage, layout]
    peak = np.argmax(total.reshape(3 * num_stages, num_layouts), axis=0)
    rows = np.arange(num_layouts)

    def at_peak(values: Floats) -> Floats:
        return np.asarray(np.broadcast_to(values, total.shape).reshape(3 * num_stages, num_layouts)[peak, rows])

    found = {name: at_peak(parts[name]) for name in PARTS}
    passing = sum(found[name] for name in PASSING_PARTS)
    late = gradients[peak % num_stages, rows] - found["gradients_bytes"]
    cached = policy.cached + policy.fragmentation_fraction * passing + late
    return found | {"cached_bytes": np.asarray(cached), "host_bytes": _host_bytes(held, job, kept, element_bytes)}


def moment_parts(
    held: RankMemory, job: TrainingJob, stack: Stack, kept: dict[BlockKind, KeptBytes], element_bytes: float
) -> dict[str, Floats]:
    """Bytes by part at the three moments (loss, backward, end), which broadcast to ``[moments, stages, layouts]``."""
    gradients = _gradient_bytes(job, stack) * held.state.graded
    early = gradients * np.where(held.accumulates | stack.memory.preallocates_gradients, 1.0, 0.0)
    parts = _resident(job, stack, held.state, element_bytes) | _passing(held, job, stack, kept, element_bytes)
    return parts | {"gradients_bytes": np.stack([early, early, gradients])}


def _resident(job: TrainingJob, stack: Stack, state: RankState, element_bytes: float) -> dict[str, Floats]:
    """What is held throughout, over stages and layouts."""
    policy = stack.memory
    return {
        "parameters_bytes": np.where(state.hosted > 0, element_bytes, _stored_bytes(stack, element_bytes))
        * state.stored,
        "main_parameters_bytes": policy.main_parameter_bytes * state.updated,
        "optimizer_bytes": _optimizer_bytes(job, stack) * state.updated,
        "reserve_bytes": np.full_like(state.updated, policy.reserve),
    }


def _optimizer_bytes(job: TrainingJob, stack: Stack) -> float:
    """Of a parameter's optimizer state: as the optimizer defines it, or in the stack's own narrower format."""
    own = stack.memory.optimizer_state_bytes
    return STATE_BYTES[job.optimizer] if own is None else min(own, STATE_BYTES[job.optimizer])


def _passing(
    held: RankMemory, job: TrainingJob, stack: Stack, kept: dict[BlockKind, KeptBytes], element_bytes: float
) -> dict[str, Floats]:
    """What comes and goes, over moments, stages and layouts."""
    state, passing = held.state, held.transients
    layers = _layer_activations(held.stages, kept) * held.in_flight
    activations = _other_activations(held.stages, kept) * held.in_flight + _on_device(held, layers, kept)
    zero = np.zeros_like(activations)
    in_backward = (
        state.gathered_in_backward * element_bytes
        + state.gradients_computed * element_bytes
        + state.gradients_reduced * stack.memory.reduced_gradient_bytes
    )
    heads = held.stages.counts[BlockKind.HEAD]
    weight_bytes = stack.memory.weight_gradient_bytes
    working = _repeated_bytes(held.stages, kept) + passing.widest_gradients * element_bytes
    return {
        "activations_bytes": np.stack([activations, activations, zero]),
        "gathered_parameters_bytes": np.stack([state.gathered_at_loss * element_bytes, in_backward, in_backward]),
        "loss_bytes": np.stack([heads * _loss(passing, job, stack), zero, zero]),
        "workspace_bytes": np.stack(
            [
                heads * passing.head_weights * weight_bytes,
                zero + working + passing.widest_weights * weight_bytes,
                zero,
            ]
        ),
    }


def _gradient_bytes(job: TrainingJob, stack: Stack) -> float:
    half = stack.memory.fp16_gradient_bytes
    return stack.memory.gradient_bytes if half is None or job.precision is not Precision.FP16 else half


def _stored_bytes(stack: Stack, element_bytes: float) -> float:
    """Of a parameter at rest: the fp32 master itself, or a copy in the compute format beside it."""
    return element_bytes if stack.memory.main_parameter_bytes else stack.memory.parameter_bytes


def _layer_activations(stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    """Of one micro-batch in the layers of each stage, for its backward pass."""
    total = np.zeros(stages.exists.shape)
    for kind, again in stages.repeated.items():
        partly = stages.partly_repeated[kind]
        total = total + (stages.counts[kind] - again - partly) * kept[kind].everything
        total = total + partly * kept[kind].selectively + again * kept[kind].entry
    return total


def _other_activations(stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    """The same outside the layers."""
    others = [counts * kept[kind].everything for kind, counts in stages.counts.items() if kind not in stages.repeated]
    return np.asarray(sum(others))


def _on_device(held: RankMemory, layers: Floats, kept: dict[BlockKind, KeptBytes]) -> Floats:
    """Of the activations ``layers`` what is on the device at once."""
    if not np.isfinite(held.layers_on_device).any():
        return layers
    return np.minimum(layers, np.nan_to_num(held.layers_on_device, posinf=1e9) * _largest_kept(held.stages, kept))


def _largest_kept(stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    """Of one micro-batch in the layer that keeps most."""
    largest = np.zeros(stages.exists.shape[1])
    for kind, again in stages.all_repeated.items():
        partly = stages.all_partly_repeated[kind]
        whole = stages.all_counts[kind] - again - partly > 0
        for present, each in (
            (whole, kept[kind].everything),
            (partly > 0, kept[kind].selectively),
            (again > 0, kept[kind].entry),
        ):
            largest = np.maximum(largest, np.where(present, each, 0.0))
    return largest


def sent_away_bytes(held: RankMemory, kept: dict[BlockKind, KeptBytes]) -> Floats:
    """Activations of one micro-batch that leave each stage for the host, ``[stages, layouts]``."""
    layers = _layer_activations(held.stages, kept)
    return np.asarray(np.where(held.stages.exists, layers - _on_device(held, layers, kept), 0.0))


def _host_bytes(held: RankMemory, job: TrainingJob, kept: dict[BlockKind, KeptBytes], element_bytes: float) -> Floats:
    """Main parameters, optimizer state, gradients and activations of the fullest stage."""
    state = held.state.hosted * (MAIN_BYTES + STATE_BYTES[job.optimizer] + element_bytes)
    if np.isfinite(held.layers_on_device).any():
        layers = _layer_activations(held.stages, kept) * held.in_flight
        state = state + layers - _on_device(held, layers, kept)
    return np.asarray(np.where(held.stages.exists, state, 0.0).max(axis=0))


def _repeated_bytes(stages: Stages, kept: dict[BlockKind, KeptBytes]) -> Floats:
    """Of the largest layer that is repeated: what it holds meanwhile beyond what it kept."""
    largest = np.zeros(stages.exists.shape[1])
    for kind, again in stages.all_repeated.items():
        block = kept[kind]
        partly = np.where(stages.all_partly_repeated[kind] > 0, block.everything - block.selectively, 0.0)
        whole = np.where(again > 0, block.everything - block.entry, 0.0)
        largest = np.maximum(largest, np.maximum(partly, whole))
    return largest


def _loss(passing: Transients, job: TrainingJob, stack: Stack) -> Floats:
    """Logits, their fp32 copies, softmax and gradient, as far as they stand together, on the stage with the head.

    A fused loss has them of so many tokens at a time that they are as many as the head's input has elements (Hsu 2024,
    arXiv:2410.10989, section 3.2).
    """
    policy, arch = stack.memory, job.architecture
    at_once = min(1.0, arch.hidden / arch.vocab) if stack.kernels.fused_loss else 1.0
    split = policy.logit_bytes if policy.split_logit_bytes is None else policy.split_logit_bytes
    return np.asarray(at_once * passing.logits * np.where(passing.vocabulary_is_split, split, policy.logit_bytes))
