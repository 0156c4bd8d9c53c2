"""Clusters: the profile as written, and the resolved cluster that everything above reads."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from glmplan.errors import InputError
from glmplan.hardware.calibration import Calibration
from glmplan.hardware.device import Device
from glmplan.hardware.fabric import Fabric, FatTree, SwitchTree
from glmplan.hardware.fact import CountFact, Fact, HourlyPriceFact, RatioFact, Record, Source
from glmplan.hardware.measured import MeasuredTables
from glmplan.hardware.measurements import Measurements
from glmplan.hardware.node import Node
from glmplan.hardware.tiers import Tier
from glmplan.hardware.topology import Graph, Machine, cluster_graph


def _name_or_inline(value: Any) -> str:
    return "[name]" if isinstance(value, str) else "[inline]"


def _fabric_kind(value: Any) -> str:
    kind = value.get("kind", "fat-tree") if isinstance(value, Mapping) else getattr(value, "kind", "fat-tree")
    return "[tree]" if kind == "tree" else "[fat-tree]"


# The brackets keep pydantic's branch names out of the field paths of messages (see documents.faults_of).
DeviceOrName = Annotated[
    Annotated[str, Tag("[name]")] | Annotated[Device, Tag("[inline]")], Discriminator(_name_or_inline)
]
NodeOrName = Annotated[Annotated[str, Tag("[name]")] | Annotated[Node, Tag("[inline]")], Discriminator(_name_or_inline)]
FabricOfKind = Annotated[
    Annotated[FatTree, Tag("[fat-tree]")] | Annotated[SwitchTree, Tag("[tree]")], Discriminator(_fabric_kind)
]


class ClusterProfile(Record):
    """A cluster as its file says it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str = ""
    node: NodeOrName
    """Name of a node profile, or the node itself."""
    device: DeviceOrName | None = None
    """The device itself, where it is in no catalogue; none: the one that the node names."""
    fabric: FabricOfKind | None = None
    """None: one node."""
    max_nodes: CountFact | None = None
    """None: what the fabric joins."""
    usd_per_device_hour: HourlyPriceFact | None = None
    """What a device-hour costs here; none: the node's cheapest on-demand price."""
    matmul_derate: RatioFact | None = None
    """Seconds of matmuls here over those of the device's tables, from a microbenchmark on both."""
    measurements: Measurements | None = None
    calibrations: tuple[Calibration, ...] = ()
    note: str = ""
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _network_where_needed(self) -> "ClusterProfile":
        if self.fabric is None and self.max_nodes is not None and self.max_nodes.value > 1:
            raise ValueError("fabric is missing; a cluster of several nodes needs one")
        if isinstance(self.node, Node) and self.fabric is not None and self.node.scale_out is None:
            raise ValueError("node.scale_out is missing; a node on a fabric needs network cards")
        if self.fabric is not None and self.max_nodes is not None and self.max_nodes.value > self.fabric.span_nodes:
            raise ValueError(
                f"max_nodes: {self.max_nodes.value} is more than the {self.fabric.span_nodes} of the fabric"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFact:
    """A number that a prediction rests on, for provenance."""

    name: str
    value: str
    grade: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """One device's share of its host's memory, and the way there. None: not known."""

    copy_bytes_per_s: float
    """Of copies between device and host, each direction."""
    capacity_bytes: float | None
    bandwidth_bytes_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cluster:
    """A cluster, resolved: what a plan is made for."""

    name: str
    device: Device
    node: Node
    machine: Machine
    fabric: Fabric | None
    devices_per_node: int
    num_nodes: int
    max_nodes: int
    tiers: tuple[Tier, ...]
    """Innermost first; the last one spans the cluster."""
    usd_per_device_hour: Fact[float] | None
    """The note names the node and date of the price."""
    compute_derate: float
    """Seconds of matmuls and attention of this device over those of the tables it borrows."""
    matmul_derate: float
    """Seconds of matmuls on this machine over those of the device's tables; on top of ``compute_derate``."""
    measured: MeasuredTables
    calibrations: tuple[Calibration, ...]
    facts: tuple[NamedFact, ...]
    """The facts a plan rests on, with grade and source."""
    profiles: Mapping[str, str]
    """Profile -> SHA-256 of its file."""

    @property
    def num_devices(self) -> int:
        """Devices of the whole cluster."""
        return self.devices_per_node * self.num_nodes

    @property
    def host(self) -> HostMemory | None:
        """The host's memory, one device's share of it; None where a device has no memory apart from it, or no link."""
        port, host = self.machine.host, self.node.host
        if port is None or self.device.runtime == "cpu":
            return None
        share = self.node.devices.value
        return HostMemory(
            copy_bytes_per_s=port.copy_bytes_per_s,
            capacity_bytes=None if host.memory is None else host.memory.value / share,
            bandwidth_bytes_per_s=None if host.memory_bandwidth is None else host.memory_bandwidth.value / share,
        )

    @property
    def max_devices(self) -> int:
        """Devices of the largest cluster this profile describes."""
        return self.node.devices.value * self.max_nodes

    def sized(self, num_devices: int) -> "Cluster":
        """The same cluster with ``num_devices`` devices.

        Raises InputError where that is neither a divisor of one node's devices nor whole nodes, or too many.
        """
        per_node = self.node.devices.value
        if num_devices < 1:
            raise InputError(f"gpus: must be at least 1; got {num_devices}")
        if num_devices > self.max_devices:
            raise InputError(
                f"gpus: {num_devices} is more than the {self.max_devices} of cluster {self.name} "
                f"({self.max_nodes} nodes of {per_node}); use at most {self.max_devices} or another cluster"
            )
        if num_devices <= per_node:
            if per_node % num_devices:
                counts = ", ".join(str(count) for count in range(1, per_node + 1) if per_node % count == 0)
                raise InputError(f"gpus: {num_devices} does not divide the {per_node} of a node; use {counts}")
            return self._of(devices_per_node=num_devices, num_nodes=1)
        if num_devices % per_node:
            below, above = num_devices // per_node * per_node, -(-num_devices // per_node) * per_node
            near = f"{below} or {above}" if above <= self.max_devices else str(below)
            raise InputError(
                f"gpus: {num_devices} is not a multiple of the {per_node} devices of a node ({self.node.name}); "
                f"use {near}"
            )
        return self._of(devices_per_node=per_node, num_nodes=num_devices // per_node)

    def tier_of(self, span_devices: int) -> Tier:
        """The innermost tier that joins ``span_devices`` neighbouring devices."""
        return next((tier for tier in self.tiers if tier.span_devices >= span_devices), self.tiers[-1])

    def graph(self) -> Graph:
        """Every device, card and switch of the nodes, which are drawn whole, and of whole scale-up domains where there
        is more than one. Edges: ``bandwidth_bytes_per_s`` one direction and ``latency_s``."""
        machine = replace(self.machine, nodes=min(self.machine.nodes, self.num_nodes))
        return cluster_graph(self.fabric if self.num_nodes > 1 else None, machine, self.num_nodes)

    def _of(self, *, devices_per_node: int, num_nodes: int) -> "Cluster":
        total = devices_per_node * num_nodes
        tiers: list[Tier] = []
        for tier in self.tiers:
            if not tiers or tiers[-1].span_devices < total:
                tiers.append(replace(tier, span_devices=min(tier.span_devices, total)))
        return replace(self, devices_per_node=devices_per_node, num_nodes=num_nodes, tiers=tuple(tiers))
