"""Resolves a cluster profile: looks up its parts, wires one scale-up domain, reduces the fabric, finds the price."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from glmplan.errors import InputError
from glmplan.hardware.cluster import Cluster, ClusterProfile, NamedFact
from glmplan.hardware.device import Device
from glmplan.hardware.fabric import Fabric, FatTree
from glmplan.hardware.fact import Fact, RatioFact
from glmplan.hardware.link import Link
from glmplan.hardware.measured import MeasuredTables
from glmplan.hardware.node import Node
from glmplan.hardware.tiers import reduce_to_tiers
from glmplan.hardware.topology import HostPort, Machine, Nics, ScaleUpPort
from glmplan.units import format_bytes, format_quantity

MAX_LENDERS = 4


class Parts(Protocol):
    """Where named parts come from."""

    def device(self, name: str) -> Device:
        """The device called ``name``. Raises InputError."""

    def node(self, name: str) -> Node:
        """The node called ``name``. Raises InputError."""

    def link(self, name: str) -> Link:
        """The link called ``name``. Raises InputError."""

    def profiles(self) -> Mapping[str, str]:
        """What was read so far: profile -> SHA-256."""


def resolve(profile: ClusterProfile, parts: Parts, measurements: Path) -> Cluster:
    """The cluster that ``profile`` describes, at its largest size.

    Raises InputError where a part is in no catalogue or the parts do not go together.
    """
    node = parts.node(profile.node) if isinstance(profile.node, str) else profile.node
    device = _device(profile, node, parts)
    fabric = profile.fabric
    machine = _machine(device, node, parts)
    if fabric is not None:
        check_fabric(fabric, node, machine)
    max_nodes = profile.max_nodes.value if profile.max_nodes else fabric.span_nodes if fabric else node.domain_nodes
    tiers = reduce_to_tiers(fabric, machine)
    if not tiers and machine.devices > 1:
        raise InputError(f"node {node.name}: its {machine.devices} devices have no link; give scale_up or host_link")
    return Cluster(
        name=profile.name,
        device=device,
        node=node,
        machine=machine,
        fabric=fabric,
        devices_per_node=node.devices.value,
        num_nodes=max_nodes,
        max_nodes=max_nodes,
        tiers=tiers,
        usd_per_device_hour=profile.usd_per_device_hour or _price(node, parts),
        compute_derate=_derate(device.compute_derate),
        matmul_derate=_derate(profile.matmul_derate),
        measured=MeasuredTables(
            device=device.name,
            folder=measurements,
            lenders=_lenders(device.efficiency_like, parts),
            collective_lenders=_lenders(device.collectives_like or device.efficiency_like, parts),
            own=profile.measurements,
        ),
        calibrations=profile.calibrations,
        facts=tuple(_named_facts(device, node)),
        profiles=parts.profiles(),
    )


def _device(profile: ClusterProfile, node: Node, parts: Parts) -> Device:
    if profile.device is None:
        return parts.device(node.device)
    device = parts.device(profile.device) if isinstance(profile.device, str) else profile.device
    if device.name != node.device:
        raise InputError(f"device: {device.name} is not the node's device {node.device}; make the two names equal")
    return device


def _derate(fact: RatioFact | None) -> float:
    return 1.0 if fact is None else fact.value


def _machine(device: Device, node: Node, parts: Parts) -> Machine:
    scale_up = node.scale_up or device.scale_up
    port = None
    if scale_up is not None:
        link = parts.link(scale_up.link)
        bandwidth = scale_up.bandwidth.value if scale_up.bandwidth else link.bandwidth_bytes_per_s
        port = ScaleUpPort(
            link=link.name,
            bandwidth_bytes_per_s=bandwidth,
            latency_s=scale_up.latency.value if scale_up.latency else link.latency_s,
            wiring=scale_up.wiring,
            in_switch_reduction=link.in_switch_reduction and scale_up.wiring == "switch",
        )
    host = None
    if device.host_link is not None:
        link = parts.link(device.host_link)
        host = HostPort(
            link=link.name,
            bandwidth_bytes_per_s=link.bandwidth_bytes_per_s,
            latency_s=link.latency_s,
            copy_bytes_per_s=link.copy_bytes_per_s,
        )
    nics = None
    if node.scale_out is not None:
        out = node.scale_out
        link = parts.link(out.link)
        nics = Nics(
            link=link.name,
            count=out.nics.value,
            bandwidth_bytes_per_s=out.nic_bandwidth.value if out.nic_bandwidth else link.bandwidth_bytes_per_s,
            latency_s=link.latency_s,
            behind_host_link=out.behind_host_link,
            in_switch_reduction=link.in_switch_reduction,
        )
    return Machine(devices_per_node=node.devices.value, nodes=node.domain_nodes, scale_up=port, host=host, nics=nics)


def check_fabric(fabric: Fabric, node: Node, machine: Machine) -> None:
    """Raises InputError where cards, rails and scale-up domains do not go into ``fabric``."""
    if machine.nics is None:
        raise InputError(f"node {node.name}: has no scale_out; a node on a fabric needs network cards")
    if isinstance(fabric, FatTree) and fabric.rails is not None and machine.nics.count % fabric.rails.value:
        raise InputError(
            f"fabric.rails: {fabric.rails.value} does not divide the {machine.nics.count} network cards of a node"
        )
    if machine.nodes == 1:
        return
    spans = (
        {level.name: level.span_nodes.value for level in fabric.levels}
        if isinstance(fabric, FatTree)
        else {switch.name: switch.nodes for switch in fabric.switches}
    )
    for name, span in spans.items():
        if span % machine.nodes:
            raise InputError(
                f"fabric: {name} joins {span} nodes, no multiple of the {machine.nodes} nodes of a scale-up domain"
            )


def _price(node: Node, parts: Parts) -> Fact[float] | None:
    own = node.usd_per_device_hour()
    if own is not None or node.priced_like is None:
        return own
    return parts.node(node.priced_like).usd_per_device_hour()


def _lenders(first: str | None, parts: Parts) -> tuple[str, ...]:
    names: list[str] = []
    while first is not None and first not in names and len(names) < MAX_LENDERS:
        names.append(first)
        first = parts.device(first).efficiency_like
    return tuple(names)


def _named_facts(device: Device, node: Node) -> list[NamedFact]:
    facts = [
        NamedFact(
            name=f"{device.name} dense {key} peak",
            value=format_quantity(fact.value, "FLOP/s"),
            grade=fact.how,
            source=fact.source,
        )
        for key, fact in device.peak_flops.items()
    ]
    memory = device.memory_usable or device.memory_capacity
    facts.append(
        NamedFact(
            name=f"{device.name} memory", value=format_bytes(memory.value), grade=memory.how, source=memory.source
        )
    )
    bandwidth = device.memory_bandwidth
    facts.append(
        NamedFact(
            name=f"{device.name} memory bandwidth",
            value=format_quantity(bandwidth.value, "B/s"),
            grade=bandwidth.how,
            source=bandwidth.source,
        )
    )
    if node.scale_out is not None:
        nics = node.scale_out.nics
        facts.append(
            NamedFact(
                name=f"{node.name} network cards",
                value=f"{nics.value} x {node.scale_out.link}",
                grade=nics.how,
                source=nics.source,
            )
        )
    return facts
