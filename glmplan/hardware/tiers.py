"""Tiers: the cluster's graph reduced to levels, each with the bandwidth a device gets in it under all-to-all pressure.

A tier's bandwidth is the maximum flow from one part of the level below into the rest of the level, divided by the
devices of that part (max-flow min-cut theorem: Ford and Fulkerson 1956). Shared cards, oversubscription and scale-up
domains of several nodes come out of the graph.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import networkx as nx

from glmplan.hardware.fabric import Fabric, FatTree, SwitchTree
from glmplan.hardware.topology import (
    Graph,
    Group,
    Machine,
    count_devices,
    devices_below,
    group_graph,
    switch_tree,
    uplink_bytes_per_s,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One level of links, as the cost model sees it."""

    name: str
    """nvlink, xgmi, pcie, ... or the fabric level's name."""
    span_devices: int
    """Devices that reach each other within it."""
    bandwidth_bytes_per_s: float
    """For one device, one direction, when all devices send to all others of the tier at once."""
    latency_s: float
    """Of one step across it, the library's protocol included."""
    link: str
    """The link profile whose wire it is."""
    in_switch_reduction: bool
    scale_up: bool
    """Whether it lies within the scale-up domain or the host, before any network card."""
    direct: bool = False
    """Devices are joined pair by pair, without a switch: a group has the links among its members and no others."""

    def bandwidth_among(self, devices: int) -> float:
        """For one of a group of ``devices`` that exchange among themselves, in bytes per second."""
        if not self.direct:
            return self.bandwidth_bytes_per_s
        return self.bandwidth_bytes_per_s * min(1.0, (devices - 1) / (self.span_devices - 1))


def reduce_to_tiers(fabric: Fabric | None, machine: Machine) -> tuple[Tier, ...]:
    """The tiers, innermost first, of a cluster of any size that ``fabric`` allows."""
    tiers = _machine_tiers(machine)
    if fabric is None or machine.nics is None:
        return tuple(tiers)
    if isinstance(fabric, FatTree):
        tiers += [_level_tier(fabric, machine, index) for index in range(len(fabric.levels))]
    else:
        tiers += _tree_tiers(fabric, machine)
    return tuple(_widening(tiers))


def _machine_tiers(machine: Machine) -> list[Tier]:
    alone = replace(machine, nics=None)
    graph = group_graph(Group(name="m", level="machine", machines=(1,)), alone)
    devices = [f"m/machine-0/device-{index}" for index in range(machine.devices)]
    tiers = []
    if machine.scale_up is not None and machine.devices > 1:
        port = machine.scale_up
        span = 2 if port.wiring == "pairs" else machine.devices
        inside = group_graph(Group(name="m", level="machine", machines=(1,)), replace(alone, host=None))
        tiers.append(
            Tier(
                name=port.link,
                span_devices=span,
                bandwidth_bytes_per_s=_flow_bytes_per_s(inside, devices[:1], devices[1:span]),
                latency_s=port.latency_s,
                link=port.link,
                in_switch_reduction=port.in_switch_reduction,
                scale_up=True,
                direct=port.wiring == "mesh",
            )
        )
    if machine.host is not None and machine.devices > (tiers[-1].span_devices if tiers else 1):
        part = tiers[-1].span_devices if tiers else 1
        tiers.append(
            Tier(
                name=machine.host.link,
                span_devices=machine.devices,
                bandwidth_bytes_per_s=_flow_bytes_per_s(graph, devices[:part], devices[part:]) / part,
                latency_s=machine.host.latency_s,
                link=machine.host.link,
                in_switch_reduction=False,
                scale_up=True,
            )
        )
    return tiers


def _level_tier(fabric: FatTree, machine: Machine, index: int) -> Tier:
    """The tier of a level, from two of the groups it joins; all of them are equal."""
    assert machine.nics is not None
    level = fabric.levels[index]
    latency_s = level.switch_latency.value if level.switch_latency else 0.0
    if index == 0:
        # Two machines are enough; the leaf itself passes everything its ports take.
        limit = level.oversubscription.value if level.oversubscription else 1.0
        root = Group(name="top", level=level.name, latency_s=latency_s, machines=(1, 1))
        narrowed = replace(
            machine, nics=replace(machine.nics, bandwidth_bytes_per_s=machine.nics.bandwidth_bytes_per_s / limit)
        )
        devices = list(devices_below(root, narrowed))
        graph = group_graph(root, narrowed)
        one, other, count = devices[: machine.devices], devices[machine.devices :], machine.devices
    else:
        children = tuple(_merged(fabric, machine, index - 1, name) for name in ("one", "other"))
        root = Group(name="top", level=level.name, latency_s=latency_s, children=children)
        graph = group_graph(root, machine)
        one, other = ([*devices_below(child, machine)] for child in children)
        count = count_devices(children[0], machine)
    return Tier(
        name=level.name,
        span_devices=level.span_nodes.value * machine.devices_per_node,
        bandwidth_bytes_per_s=_flow_bytes_per_s(graph, one, other) / count,
        latency_s=_latency_s(graph, one[0], other[0]),
        link=machine.nics.link,
        in_switch_reduction=fabric.in_network_reduction and machine.nics.in_switch_reduction,
        scale_up=False,
    )


def _merged(fabric: FatTree, machine: Machine, index: int, name: str) -> Group:
    """One full group of level ``index``, called ``name``, with all equal parts merged."""
    level = fabric.levels[index]
    group = Group(
        name=name,
        level=level.name,
        latency_s=level.switch_latency.value if level.switch_latency else 0.0,
        uplink_bytes_per_s=uplink_bytes_per_s(fabric, machine, index),
    )
    if index == 0:
        return replace(group, machines=(level.span_nodes.value // machine.nodes,))
    below = fabric.levels[index - 1].span_nodes.value
    child = replace(_merged(fabric, machine, index - 1, f"{name}/below"), copies=level.span_nodes.value // below)
    return replace(group, children=(child,))


def _tree_tiers(fabric: SwitchTree, machine: Machine) -> list[Tier]:
    """One tier for each height of the tree: the narrowest part of any of its switches, the smallest span."""
    assert machine.nics is not None
    by_height: dict[int, list[Group]] = {}
    _collect(switch_tree(fabric, machine), by_height)
    tiers = []
    for height in sorted(by_height):
        worst: tuple[float, float] | None = None
        for group in by_height[height]:
            graph = group_graph(group, machine)
            devices = set(devices_below(group, machine))
            for part in _parts(group, machine):
                rest = devices.difference(part)
                if rest:
                    share = _flow_bytes_per_s(graph, part, rest) / min(len(part), len(rest))
                    latency_s = _latency_s(graph, part[0], min(rest))
                    worst = (share, latency_s) if worst is None else (min(share, worst[0]), max(latency_s, worst[1]))
        if worst is not None:
            tiers.append(
                Tier(
                    name=by_height[height][0].level if len(by_height[height]) == 1 else f"level-{height}",
                    span_devices=min(count_devices(group, machine) for group in by_height[height]),
                    bandwidth_bytes_per_s=worst[0],
                    latency_s=worst[1],
                    link=machine.nics.link,
                    in_switch_reduction=fabric.in_network_reduction and machine.nics.in_switch_reduction,
                    scale_up=False,
                )
            )
    return tiers


def _collect(group: Group, by_height: dict[int, list[Group]]) -> int:
    height = max((_collect(child, by_height) + 1 for child in group.children), default=0)
    by_height.setdefault(height, []).append(group)
    return height


def _parts(group: Group, machine: Machine) -> Iterable[list[str]]:
    for position in range(len(group.machines)):
        yield [f"{group.name}/machine-{position}/device-{index}" for index in range(machine.devices)]
    for child in group.children:
        yield list(devices_below(child, machine))


def _widening(tiers: list[Tier]) -> Iterable[Tier]:
    """Leaves out tiers that reach no further than the one before."""
    reached = 1
    for tier in tiers:
        if tier.span_devices > reached:
            reached = tier.span_devices
            yield tier


def _flow_bytes_per_s(graph: Graph, sources: Iterable[str], sinks: Iterable[str]) -> float:
    """The most that ``sources`` together can send to ``sinks`` together."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    for one, other, edge in graph.edges(data=True):
        width = round(edge["bandwidth_bytes_per_s"])
        flow.add_edge(one, other, capacity=width)
        flow.add_edge(other, one, capacity=width)
    flow.add_edges_from(("source", vertex) for vertex in sources)
    flow.add_edges_from((vertex, "sink") for vertex in sinks)
    return float(nx.maximum_flow_value(flow, "source", "sink"))


def _latency_s(graph: Graph, one: str, other: str) -> float:
    return float(nx.shortest_path_length(graph, one, other, weight="latency_s"))
