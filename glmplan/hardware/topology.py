"""The cluster as a graph: devices, in-node switches, network cards and the fabric's switches.

A graph is drawn from a tree of ``Group`` records. ``copies`` merges equal parts into one with their summed bandwidth:
by symmetry that leaves every maximum flow between groups unchanged, and it keeps the graph of 16,000 devices small.
Which bandwidth the levels offer is worked out in ``tiers``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import networkx as nx

from glmplan.hardware.fabric import Fabric, FatTree, SwitchTree

if TYPE_CHECKING:
    Graph = nx.Graph[str]
else:
    Graph = nx.Graph
Wiring = Literal["switch", "mesh", "pairs", "torus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUpPort:
    """A device's way to its peers in the scale-up domain."""

    link: str
    bandwidth_bytes_per_s: float
    latency_s: float
    wiring: Wiring
    in_switch_reduction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """A device's way to its host."""

    link: str
    bandwidth_bytes_per_s: float
    latency_s: float
    copy_bytes_per_s: float
    """What copies between device and host reach, one direction, where it was tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nics:
    """The network cards of one node."""

    link: str
    count: int
    bandwidth_bytes_per_s: float
    """Of one card."""
    latency_s: float
    behind_host_link: bool
    in_switch_reduction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One scale-up domain: its nodes with their devices and cards."""

    devices_per_node: int
    nodes: int
    scale_up: ScaleUpPort | None
    host: HostPort | None
    nics: Nics | None

    @property
    def devices(self) -> int:
        """Devices of the whole domain."""
        return self.devices_per_node * self.nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A switch (or a level's equal switches taken as one) with what hangs below it."""

    name: str
    level: str
    latency_s: float = 0.0
    uplink_bytes_per_s: float = 0.0
    """Of one copy, to the group above; 0 at the root."""
    copies: int = 1
    """Equal groups this one stands for, within one copy of the group above."""
    rails: int = 1
    children: tuple["Group", ...] = ()
    machines: tuple[int, ...] = ()
    """Scale-up domains below; each number says how many equal ones are merged."""


def fat_tree(fabric: FatTree, machine: Machine, num_nodes: int) -> Group:
    """The groups that ``num_nodes`` nodes take up, nothing merged; one level joins what fits into it."""
    wanted = next(
        (index for index, level in enumerate(fabric.levels) if level.span_nodes.value >= num_nodes),
        len(fabric.levels) - 1,
    )
    return _grown(fabric, machine, wanted, num_nodes, "0")


def _grown(fabric: FatTree, machine: Machine, index: int, num_nodes: int, label: str) -> Group:
    level = fabric.levels[index]
    latency_s = level.switch_latency.value if level.switch_latency else 0.0
    name = f"{level.name}-{label}"
    uplink = uplink_bytes_per_s(fabric, machine, index) if index + 1 < len(fabric.levels) else 0.0
    if index == 0:
        rails = fabric.rails.value if fabric.rails else 1
        machines = (1,) * -(-num_nodes // machine.nodes)
        return Group(
            name=name, level=level.name, latency_s=latency_s, uplink_bytes_per_s=uplink, rails=rails, machines=machines
        )
    span = fabric.levels[index - 1].span_nodes.value
    sizes = [min(span, num_nodes - start) for start in range(0, num_nodes, span)]
    children = tuple(
        _grown(fabric, machine, index - 1, size, f"{label}.{position}") for position, size in enumerate(sizes)
    )
    return Group(name=name, level=level.name, latency_s=latency_s, uplink_bytes_per_s=uplink, children=children)


def uplink_bytes_per_s(fabric: FatTree, machine: Machine, index: int) -> float:
    """Bandwidth of one full group of level ``index`` to the level above, one direction.

    What its nodes' cards can send, divided by the oversubscription of every level up to the one above.
    """
    assert machine.nics is not None
    total = fabric.levels[index].span_nodes.value * machine.nics.count * machine.nics.bandwidth_bytes_per_s
    for level in fabric.levels[: index + 2]:
        total /= level.oversubscription.value if level.oversubscription else 1.0
    return total


def switch_tree(fabric: SwitchTree, machine: Machine) -> Group:
    """The groups of a hand-made tree, nothing merged."""

    def grown(name: str) -> Group:
        switch = next(switch for switch in fabric.switches if switch.name == name)
        return Group(
            name=name,
            level=name,
            latency_s=switch.latency.value if switch.latency else 0.0,
            uplink_bytes_per_s=switch.uplink.value if switch.uplink else 0.0,
            children=tuple(grown(child.name) for child in fabric.switches if child.parent == name),
            machines=(1,) * (switch.nodes // machine.nodes),
        )

    return grown(next(switch.name for switch in fabric.switches if switch.parent is None))


def cluster_graph(fabric: Fabric | None, machine: Machine, num_nodes: int) -> Graph:
    """Every device, card and switch of ``num_nodes`` nodes. Edges carry ``bandwidth_bytes_per_s`` (one direction)
    and ``latency_s``, vertices their ``kind``: device, node-switch, host-bridge, nic, or a level's name."""
    if fabric is None or machine.nics is None:
        return group_graph(Group(name="domain", level="domain", machines=(1,)), machine)
    if isinstance(fabric, SwitchTree):
        return group_graph(switch_tree(fabric, machine), machine)
    return group_graph(fat_tree(fabric, machine, num_nodes), machine)


def group_graph(root: Group, machine: Machine) -> Graph:
    """The graph of ``root`` with a merged part's edges as wide as all its copies."""
    graph: Graph = nx.Graph()
    _add_group(graph, root, machine, root.copies)
    return graph


def devices_below(group: Group, machine: Machine) -> Iterator[str]:
    """The device vertices below ``group``, in the graph that ``group_graph`` makes."""
    for position in range(len(group.machines)):
        for device in range(machine.devices):
            yield f"{group.name}/machine-{position}/device-{device}"
    for child in group.children:
        yield from devices_below(child, machine)


def count_devices(group: Group, machine: Machine) -> int:
    """Devices below one copy of ``group``, merged ones counted in full."""
    below = sum(child.copies * count_devices(child, machine) for child in group.children)
    return below + sum(group.machines) * machine.devices


def _add_group(graph: Graph, group: Group, machine: Machine, copies: int) -> list[str]:
    """Adds ``group`` and all below it, ``copies`` times merged; returns its switch vertices, one a rail."""
    rails = [group.name] if group.rails == 1 else [f"{group.name}/rail-{rail}" for rail in range(group.rails)]
    if machine.nics is not None:
        for rail in rails:
            graph.add_node(rail, kind=group.level, latency_s=group.latency_s)
    for child in group.children:
        below = copies * child.copies
        for rail in _add_group(graph, child, machine, below):
            width = child.uplink_bytes_per_s * below / child.rails
            _connect(graph, rail, rails[0], width, (child.latency_s + group.latency_s) / 2)
    for position, merged in enumerate(group.machines):
        _add_machine(graph, f"{group.name}/machine-{position}", group, rails, machine, copies * merged)
    return rails


def _add_machine(graph: Graph, name: str, group: Group, rails: list[str], machine: Machine, copies: int) -> None:
    devices = [f"{name}/device-{index}" for index in range(machine.devices)]
    graph.add_nodes_from(devices, kind="device")
    if machine.scale_up is not None:
        _add_scale_up(graph, name, devices, machine.scale_up, copies)
    if machine.host is not None:
        for node in range(machine.nodes):
            bridge = f"{name}/host-bridge-{node}"
            graph.add_node(bridge, kind="host-bridge")
            for device in devices[node * machine.devices_per_node : (node + 1) * machine.devices_per_node]:
                _connect(graph, device, bridge, machine.host.bandwidth_bytes_per_s * copies, machine.host.latency_s / 2)
    if machine.nics is None:
        return
    for node in range(machine.nodes):
        own = devices[node * machine.devices_per_node : (node + 1) * machine.devices_per_node]
        _add_nics(graph, f"{name}/node-{node}", own, group, rails, machine, copies)


def _add_scale_up(graph: Graph, name: str, devices: list[str], port: ScaleUpPort, copies: int) -> None:
    width = port.bandwidth_bytes_per_s * copies
    if port.wiring == "mesh":
        for index, device in enumerate(devices):
            for peer in devices[:index]:
                _connect(graph, device, peer, width / (len(devices) - 1), port.latency_s)
        return
    per_switch = 2 if port.wiring == "pairs" else len(devices)
    for start in range(0, len(devices), per_switch):
        switch = f"{name}/node-switch-{start // per_switch}"
        graph.add_node(switch, kind="node-switch")
        for device in devices[start : start + per_switch]:
            _connect(graph, device, switch, width, port.latency_s / 2)


def _add_nics(
    graph: Graph, name: str, devices: list[str], group: Group, rails: list[str], machine: Machine, copies: int
) -> None:
    """Cards and devices share PCI Express switches evenly: as many groups as the smaller of the two numbers."""
    nics = machine.nics
    assert nics is not None
    shares = min(nics.count, len(devices))
    host_width = machine.host.bandwidth_bytes_per_s if machine.host and nics.behind_host_link else None
    for share in range(shares):
        switch = f"{name}/pcie-switch-{share}"
        graph.add_node(switch, kind="pcie-switch")
        for index, device in enumerate(devices):
            if index * shares // len(devices) == share:
                # Where cards do not sit behind the host link, the way to them does not bind.
                width = host_width or nics.bandwidth_bytes_per_s * nics.count
                _connect(graph, device, switch, width * copies, 0.0)
        for index in range(nics.count):
            if index * shares // nics.count == share:
                nic = f"{name}/nic-{index}"
                graph.add_node(nic, kind="nic")
                width = nics.bandwidth_bytes_per_s * copies
                _connect(graph, switch, nic, width, 0.0)
                _connect(graph, nic, rails[index % len(rails)], width, (nics.latency_s + group.latency_s) / 2)


def _connect(graph: Graph, one: str, other: str, bandwidth_bytes_per_s: float, latency_s: float) -> None:
    graph.add_edge(one, other, bandwidth_bytes_per_s=bandwidth_bytes_per_s, latency_s=latency_s)
