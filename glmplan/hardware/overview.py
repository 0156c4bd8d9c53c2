"""What the catalogue and a profile hold, as rows for tables and JSON."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from glmplan.hardware.catalog import (
    Kind,
    list_names,
    load_cluster_profile,
    load_device,
    load_link,
    load_node,
    load_storage,
)
from glmplan.hardware.cluster import Cluster, ClusterProfile
from glmplan.hardware.device import Device
from glmplan.hardware.fact import (
    BandwidthFact,
    ComputeRateFact,
    DurationFact,
    Fact,
    Figure,
    HourlyPriceFact,
    MoneyFact,
    PowerFact,
    SizeFact,
)
from glmplan.hardware.link import Link
from glmplan.hardware.node import Node
from glmplan.hardware.storage import Storage
from glmplan.units import format_bytes, format_quantity, format_seconds

Row = dict[str, Any]


def overview(kind: Kind) -> list[Row]:
    """One row a profile of ``kind``, by name: its name, title and the figures to choose by."""
    rows: dict[Kind, Any] = {
        "device": lambda name: _device_row(load_device(name)),
        "node": lambda name: _node_row(load_node(name)),
        "cluster": lambda name: _cluster_row(load_cluster_profile(name)),
        "link": lambda name: _link_row(load_link(name)),
        "storage": lambda name: _storage_row(load_storage(name)),
    }
    return [rows[kind](name) for name in list_names(kind)]


def _device_row(device: Device) -> Row:
    best = next((key for key in ("bf16", "fp16") if key in device.peak_flops), next(iter(device.peak_flops)))
    return {
        "name": device.name,
        "title": device.title,
        "runtime": device.runtime,
        "peak": f"{format_quantity(device.peak_flops[best].value, 'FLOP/s')} {best}",
        "memory": format_bytes(device.memory_capacity_bytes),
        "memory_bandwidth": format_quantity(device.memory_bandwidth_bytes_per_s, "B/s"),
        "scale_up": device.scale_up.link if device.scale_up else None,
    }


def _node_row(node: Node) -> Row:
    price = node.usd_per_device_hour()
    return {
        "name": node.name,
        "title": node.title,
        "device": node.device,
        "devices": node.devices.value,
        "network": f"{node.scale_out.nics.value} x {node.scale_out.link}" if node.scale_out else None,
        "usd_per_device_hour": round(price.value, 4) if price else None,
    }


def _cluster_row(profile: ClusterProfile) -> Row:
    nodes = profile.max_nodes.value if profile.max_nodes else profile.fabric.span_nodes if profile.fabric else 1
    return {
        "name": profile.name,
        "title": profile.title,
        "node": profile.node if isinstance(profile.node, str) else profile.node.name,
        "max_nodes": nodes,
    }


def _link_row(link: Link) -> Row:
    return {
        "name": link.name,
        "title": link.title,
        "kind": link.kind,
        "bandwidth": format_quantity(link.bandwidth.value, "B/s") if link.bandwidth else None,
        "latency": format_seconds(link.latency.value) if link.latency else None,
        "in_switch_reduction": link.in_switch_reduction,
    }


def _storage_row(storage: Storage) -> Row:
    return {
        "name": storage.name,
        "title": storage.title,
        "kind": storage.kind,
        "per": storage.per,
        "read": format_quantity(storage.read_bandwidth.value, "B/s") if storage.read_bandwidth else None,
        "write": format_quantity(storage.write_bandwidth.value, "B/s") if storage.write_bandwidth else None,
    }


def plain_rows(profile: BaseModel) -> list[list[str]]:
    """The fields of a profile that are no facts."""
    return [
        [name, str(value)]
        for name, value in profile
        if isinstance(value, (str, bool, int, float)) and value not in ("", None)
    ]


def fact_rows(profile: BaseModel) -> list[list[str]]:
    """Every fact of a profile: path, value with unit, grade, source, note."""
    return [[path, fact_text(fact), fact.how, fact.source, fact.note] for path, fact in _facts(profile, "")]


def fact_text(fact: Fact[Any]) -> str:
    """The value of a fact for people, with its unit."""
    if isinstance(fact, Figure):
        return fact.text()
    if isinstance(fact, SizeFact):
        binary = fact.value % 2**30 == 0
        return format_quantity(fact.value, "B", binary=binary)
    units: dict[type, str] = {BandwidthFact: "B/s", ComputeRateFact: "FLOP/s", PowerFact: "W"}
    for kind, unit in units.items():
        if isinstance(fact, kind):
            return format_quantity(fact.value, unit)
    if isinstance(fact, DurationFact):
        return format_seconds(fact.value)
    if isinstance(fact, HourlyPriceFact):
        return f"{fact.value:.2f} USD/h"
    if isinstance(fact, MoneyFact):
        return f"{fact.value:,.0f} USD"
    return f"{fact.value}"


def _facts(value: object, path: str) -> Iterator[tuple[str, Fact[Any]]]:
    if isinstance(value, Fact):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, inner in value:
            yield from _facts(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _facts(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _facts(inner, f"{path}[{index}]")


def tier_rows(cluster: Cluster) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the cluster's tiers."""
    rows = [
        [
            tier.name,
            f"{tier.span_devices}",
            format_quantity(tier.bandwidth_bytes_per_s, "B/s"),
            format_seconds(tier.latency_s),
            tier.link,
            "yes" if tier.in_switch_reduction else "no",
        ]
        for tier in cluster.tiers
    ]
    return ["tier", "devices", "bandwidth per device", "latency", "link", "in-switch reduction"], rows


def graph_rows(cluster: Cluster) -> tuple[list[tuple[str, int]], list[list[str]]]:
    """The cluster's graph in numbers: vertices by kind, and edges by the kinds they join, bandwidth and latency."""
    graph = cluster.graph()
    kinds = {str(vertex): str(kind) for vertex, kind in graph.nodes(data="kind")}
    edges = Counter(
        (" - ".join(sorted((kinds[one], kinds[other]))), data["bandwidth_bytes_per_s"], data["latency_s"])
        for one, other, data in graph.edges(data=True)
    )
    rows = [
        [edge, f"{count}", format_quantity(bandwidth, "B/s"), format_seconds(latency)]
        for (edge, bandwidth, latency), count in edges.items()
    ]
    return sorted(Counter(kinds.values()).items()), rows
