"""Seconds of a collective among ranks placed on the tiers of a cluster.

Inside the first tier the measured table is interpolated over bytes. Across tiers it is latency plus bytes over the bus
bandwidth that the group's members in one node have together on their network cards, capped by the bandwidth inside
the node. All groups of one kind run at the same time, so a device has its own share of the cards and no more.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from glmplan.hardware.cluster import Cluster
from glmplan.hardware.tiers import Tier
from glmplan.layout.communication import Collective, Communication, Group, Scatter
from glmplan.workload.operation import Number

Floats = npt.NDArray[np.float64]

NETWORK_EFFICIENCY = 0.9
"""Share of the wire rate that large messages reach between nodes: 0.85 (EFA), 0.94 (HDR), 0.97 (NDR) per card."""
SCALE_UP_EFFICIENCY = 0.75
"""Share of the wire rate inside a node where no table exists: all-gathers on NVLink 3 to 5 reach 0.68 to 0.77."""


def bus_factor(collective: Collective, ranks: Number) -> Floats:
    """Bytes through a rank's port over the buffer's bytes (nccl-tests, PERFORMANCE.md).

    >>> float(bus_factor(Collective.ALL_REDUCE, 8.0))
    1.75
    """
    n = np.asarray(ranks, dtype=float)
    if collective is Collective.SEND_RECV:
        return np.where(n > 1, 1.0, 0.0)
    return np.where(n > 1, (n - 1) / np.maximum(n, 1.0), 0.0) * (2.0 if collective is Collective.ALL_REDUCE else 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CollectiveModel:
    """The cluster's links as functions of collective, bytes and group."""

    tiers: tuple[Tier, ...]
    curves: dict[tuple[str, int], tuple[Floats, Floats]] = field(default_factory=dict)
    """(collective, ranks) -> log bytes and log seconds, measured inside the first tier."""
    devices_per_node: int = 1
    """A first tier of several nodes is filled with whole nodes."""

    def seconds(self, communication: Communication) -> Floats:
        """Seconds of one such communication; 0 for a group of one rank or no bytes."""
        if communication.scatter is not None:
            return self._scattered_s(communication, communication.scatter)
        kind, group = communication.collective, communication.group
        bytes_, ranks, stride, span = np.broadcast_arrays(
            np.asarray(communication.bytes, dtype=float),
            np.asarray(group.ranks, dtype=float),
            np.asarray(group.stride, dtype=float),
            np.asarray(group.span, dtype=float),
        )
        result = np.zeros(bytes_.shape)
        active = (ranks > 1) & (bytes_ > 0)
        if not active.any():
            return result
        bytes_, ranks, stride, span = bytes_[active], ranks[active], stride[active], span[active]
        inside = self._fits_inside(span)
        values = np.empty(len(bytes_))
        values[inside] = self._inside_s(kind, bytes_[inside], ranks[inside])
        across = ~inside
        if across.any():
            values[across] = self._across_s(kind, bytes_[across], Group(ranks=ranks[across], stride=stride[across]))
        result[active] = values
        return result

    def _scattered_s(self, communication: Communication, scatter: Scatter) -> Floats:
        """An all-to-all that sends one copy to each rank, and between nodes one to each node, which passes it on.

        Both hops run as one pipeline, so that the slower one counts (DeepSeek-V3, arXiv:2412.19437, section 3.2.2).
        Measured on H100, one to four nodes, such kernels reach the bus bandwidth of plain all-to-alls on these bytes.
        """
        whole = np.asarray(communication.bytes, dtype=float) / scatter.targets
        ranks = np.asarray(communication.group.ranks, dtype=float)
        stride = np.asarray(communication.group.stride, dtype=float)
        per_node = np.clip(np.floor((self.tiers[0].span_devices if self.tiers else 1) / stride), 1.0, ranks)
        nodes = np.ceil(ranks / per_node)
        near = Group(ranks=per_node, stride=stride)
        between = Group(ranks=nodes, stride=stride * per_node)
        inside_s = self.seconds(replace(communication, bytes=whole * scatter.reached(ranks), group=near, scatter=None))
        across_s = self.seconds(
            replace(communication, bytes=whole * scatter.reached(nodes), group=between, scatter=None)
        )
        return np.asarray(np.maximum(inside_s, np.where(nodes > 1, across_s, 0.0)))

    def _fits_inside(self, span: Floats) -> npt.NDArray[np.bool_]:
        """Whether all groups of a kind lie within the first tier: blocks of ``span`` devices must not straddle it.

        A first tier of several nodes (a rack) may leave nodes idle, so whole nodes are enough there.
        """
        inner = self.tiers[0].span_devices if self.tiers else 1
        node = min(self.devices_per_node, inner)
        return np.asarray((span <= inner) & ((inner % span == 0) | (span % node == 0)))

    def _inside_s(self, kind: Collective, bytes_: Floats, ranks: Floats) -> Floats:
        result = np.empty(len(bytes_))
        for n in np.unique(ranks):
            rows = ranks == n
            result[rows] = self._one_tier_s(kind, bytes_[rows], int(n))
        return result

    def _one_tier_s(self, kind: Collective, bytes_: Floats, ranks: int) -> Floats:
        measured = sorted(n for op, n in self.curves if op == str(kind))
        if not measured:
            tier = self.tiers[0]
            wire = bus_factor(kind, ranks) * bytes_ / (tier.bandwidth_among(ranks) * SCALE_UP_EFFICIENCY)
            return np.asarray(wire + tier.latency_s * np.log2(ranks + 1))
        nearest = min(measured, key=lambda n: (abs(np.log(n / ranks)), n))
        log_bytes, log_s = self.curves[str(kind), nearest]
        query = np.log(bytes_)
        # beyond the largest measured message time grows with bytes
        beyond = np.maximum(query - log_bytes[-1], 0.0)
        scale = bus_factor(kind, ranks) / bus_factor(kind, nearest)
        return np.asarray(np.exp(np.interp(query, log_bytes, log_s) + beyond) * scale)

    def _across_s(self, kind: Collective, bytes_: Floats, group: Group) -> Floats:
        ranks, stride = np.asarray(group.ranks), np.asarray(group.stride)
        inner = self.tiers[0].span_devices
        span = np.asarray(group.span)
        # of a block that straddles nodes the node with the fewest members is the bottleneck
        usable = np.where(span < inner, np.gcd(span.astype(np.int64), inner), inner)
        per_node = np.clip(np.floor(usable / stride), 1.0, ranks)
        nodes = np.ceil(ranks / per_node)
        reach = np.minimum(stride * ranks, self.tiers[-1].span_devices)
        outer = np.searchsorted([tier.span_devices for tier in self.tiers], reach, side="left")
        outer = np.clip(outer, 1, len(self.tiers) - 1) if len(self.tiers) > 1 else np.zeros(len(reach), dtype=int)
        slowest = np.minimum.accumulate([tier.bandwidth_bytes_per_s for tier in self.tiers[1:]] or [np.inf])
        card = np.concatenate([[self.tiers[0].bandwidth_bytes_per_s], slowest])[outer] * NETWORK_EFFICIENCY
        latency = np.array([tier.latency_s for tier in self.tiers])[outer]
        if kind is Collective.SEND_RECV:
            return np.asarray(bytes_ / card + latency)
        if kind is Collective.ALL_TO_ALL:  # each rank sends its own bytes to the ranks outside its node
            return np.asarray(bytes_ * (ranks - per_node) / ranks / card + latency * np.log2(nodes + 1))
        steps = np.log2(nodes + 1) * (2.0 if kind is Collective.ALL_REDUCE else 1.0)
        network = bus_factor(kind, ranks) * bytes_ / (card * per_node)
        return np.asarray(np.maximum(network, self._node_part_s(kind, bytes_, per_node, ranks)) + latency * steps)

    def _node_part_s(self, kind: Collective, bytes_: Floats, per_node: Floats, ranks: Floats) -> Floats:
        """What the same bytes take on the links inside the node, which a hierarchical collective crosses as well."""
        result = np.zeros(len(bytes_))
        for n in np.unique(per_node[per_node > 1]):
            rows = per_node == n
            inside = self._one_tier_s(kind, bytes_[rows], int(n))
            result[rows] = inside * bus_factor(kind, ranks[rows]) / bus_factor(kind, n)
        return result


def collective_model(cluster: Cluster) -> CollectiveModel:
    """The collectives of ``cluster``: its tiers, and the measured table of its device."""
    table = cluster.measured.collective_table()
    curves: dict[tuple[str, int], tuple[Floats, Floats]] = {}
    if table is not None:
        for op in np.unique(table.op):
            for ranks in np.unique(table.ranks[table.op == op]):
                rows = (table.op == op) & (table.ranks == ranks)
                sizes, inverse = np.unique(table.bytes[rows], return_inverse=True)
                mean = np.bincount(inverse, weights=np.log(table.seconds[rows])) / np.bincount(inverse)
                curves[str(op), int(ranks)] = (np.log(sizes), np.maximum.accumulate(mean))
    return CollectiveModel(tiers=cluster.tiers, curves=curves, devices_per_node=cluster.devices_per_node)
