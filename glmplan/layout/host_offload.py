"""Offload: what the host's memory holds for a rank, and what travels there and back in a step.

Ren 2021 (arXiv:2101.06840, section 4.1): main parameters, optimizer state and gradients lie on the host, which updates
them; the device keeps the parameters it computes with. Gradients leave as they are reduced where data-parallel ranks
split them, otherwise once a step. Activations leave while their layer's successors run forward and return before the
backward pass (Rajbhandari 2021, arXiv:2104.07857, section 5.1.2; Megatron-Core's fine-grained activation offloading).
"""

from dataclasses import dataclass

import numpy as np

from glmplan.hardware.cluster import HostMemory
from glmplan.layout.parallel_layout import OFFLOADS, LayoutTable, Offload, Sharding
from glmplan.layout.placement import is_sharding
from glmplan.layout.stages import Floats, Mask, Stages

LAYERS_ON_DEVICE = 2.0
"""Layers whose activations are on the device at once: one in use, one on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostExchange:
    """What goes over a rank's link to the host in one step, and what the host does; arrays over layouts."""

    updated: Floats
    """Parameters of the fullest rank that the host updates, and whose new values come back."""
    gradients: Floats
    """Gradients that leave, over all micro-batches."""
    gradients_hide_behind_all: Mask
    """They leave with each micro-batch, not with the last one only."""
    num_stages: Floats
    """Of the pipeline: a wait of each micro-batch on each stage delays the next stage."""


def offloads_optimizer(table: LayoutTable) -> Mask:
    """Layouts whose optimizer state lies on the host."""
    return np.isin(
        table.offload, [OFFLOADS.index(kind) for kind in (Offload.OPTIMIZER, Offload.OPTIMIZER_AND_ACTIVATIONS)]
    )


def offloads_activations(table: LayoutTable) -> Mask:
    """Layouts whose activations lie on the host."""
    return np.isin(
        table.offload, [OFFLOADS.index(kind) for kind in (Offload.ACTIVATIONS, Offload.OPTIMIZER_AND_ACTIVATIONS)]
    )


def gradients_leave_early(table: LayoutTable) -> Mask:
    """Layouts whose gradients go to the host as they are reduced, and are never all on the device."""
    split = is_sharding(table, Sharding.ZERO2, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
    return offloads_optimizer(table) & split


def layers_on_device(table: LayoutTable) -> Floats:
    """Layers whose activations a stage keeps on the device, over all micro-batches; infinite without offload."""
    return np.where(offloads_activations(table), LAYERS_ON_DEVICE, np.inf)


def possible_offloads(host: HostMemory | None) -> tuple[Offload, ...]:
    """What can be priced with what is known of the host."""
    if host is None:
        return ()
    return (Offload.ACTIVATIONS,) if host.bandwidth_bytes_per_s is None else OFFLOADS[1:]


def host_exchange(table: LayoutTable, stages: Stages, updated: Floats) -> HostExchange | None:
    """The exchange of ranks that update ``updated`` parameters, ``[stages, layouts]``; None where no layout has one."""
    if not table.offload.any():
        return None
    hosted = np.where(stages.exists & offloads_optimizer(table), updated, 0.0).max(axis=0)
    early = gradients_leave_early(table)
    return HostExchange(
        updated=hosted,
        gradients=hosted * np.where(early, table.grad_accum, 1),
        gradients_hide_behind_all=early,
        num_stages=table.pp.astype(float),
    )
