"""Seconds of what the host does for a device: copies over the link between them, and the optimizer step."""

from dataclasses import dataclass

import numpy as np

from glmplan.cost.memory import Floats
from glmplan.cost.overlap import exposed_s
from glmplan.errors import NoData
from glmplan.hardware.cluster import Cluster
from glmplan.layout.host_offload import HostExchange
from glmplan.workload.job import Optimizer
from glmplan.workload.optimizer_state import MAIN_BYTES, STATE_BYTES

UPDATE_EFFICIENCY = 0.45
"""Share of the host's memory bandwidth that a vectorised Adam on all cores reaches: Ren 2021 (arXiv:2101.06840,
table 4) has 0.22 s for 1 and 2.57 s for 10 billion parameters (recalled) on two Xeon 8168 with 256 GB/s, 0.50 and 0.43.
One thread a process, the default of torchrun, is several times slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWork:
    """Seconds on link and host, nothing hidden yet; arrays over layouts."""

    exchange: HostExchange
    update_s: Floats
    """The host's optimizer step, the new parameters sent back meanwhile."""
    gradients_s: Floats
    """Gradients on their way to the host, in the whole step."""
    activations_s: Floats
    """One way, of one micro-batch, ``[stages, layouts]``."""


def host_work(
    exchange: HostExchange, activation_bytes: Floats, cluster: Cluster, optimizer: Optimizer, element_bytes: float
) -> HostWork:
    """The work of ``exchange``; ``activation_bytes`` leave a stage with each micro-batch and come back.

    Raises NoData where the host's figures are not known.
    """
    host, updates = cluster.host, bool(exchange.updated.any())
    if host is None or (updates and host.bandwidth_bytes_per_s is None):
        raise NoData(f"node {cluster.node.name}: offload needs its device's host_link and its host.memory_bandwidth")
    update_s = np.zeros_like(exchange.updated)
    if updates and host.bandwidth_bytes_per_s is not None:
        update_s = exchange.updated * update_seconds(optimizer, element_bytes, host.bandwidth_bytes_per_s)
    sent_back_s = exchange.updated * element_bytes / host.copy_bytes_per_s
    return HostWork(
        exchange=exchange,
        update_s=np.maximum(update_s, sent_back_s),
        gradients_s=exchange.gradients * element_bytes / host.copy_bytes_per_s,
        activations_s=activation_bytes / host.copy_bytes_per_s,
    )


def update_seconds(optimizer: Optimizer, element_bytes: float, bandwidth_bytes_per_s: float) -> float:
    """Of one parameter: main copy and state are read and written, the gradient read, the new parameter written.

    >>> round(update_seconds(Optimizer.ADAMW, 2.0, 256e9) * 1e10, 2)  # 10 billion parameters, Ren 2021: 2.57 s
    2.43
    """
    moved_bytes = 2.0 * (MAIN_BYTES + STATE_BYTES[optimizer]) + 2.0 * element_bytes
    return moved_bytes / (bandwidth_bytes_per_s * UPDATE_EFFICIENCY)


def waiting_s(work: HostWork, forward_s: Floats, backward_s: Floats) -> Floats:
    """Of one micro-batch on each stage: activations that its forward and backward pass do not hide."""
    return np.asarray(exposed_s(work.activations_s, forward_s, 0.0) + exposed_s(work.activations_s, backward_s, 0.0))


def gradient_waiting_s(work: HostWork, step_s: Floats, last_backward_s: Floats) -> Floats:
    """Gradients on their way to the host that compute does not hide."""
    hiding_s = np.where(work.exchange.gradients_hide_behind_all, step_s, last_backward_s)
    return np.asarray(exposed_s(work.gradients_s, hiding_s, 0.0))
