"""Figures of a cluster that may be changed on paper, each with how it is read and what changes with it.

Names are those of the profile's fields, as ``glmplan hardware show`` prints them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from glmplan.errors import InputError
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.fabric import FatTree
from glmplan.hardware.fact import Fact, RatioFact
from glmplan.hardware.resolution import check_fabric
from glmplan.hardware.tiers import reduce_to_tiers
from glmplan.precision import Precision

SOURCE = "what-if"
"""The source that a changed fact names."""
RESIDUALS_STAY = (
    "measured matmul and attention tables keep their residual over the roofline of the device as it is, the new figure"
    " enters the roofline"
)
CURVES_MOVE = (
    "in measured collective curves the smallest message counts as latency, the rest as bytes on the wire; each moves"
    " with its own figure"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a cluster."""

    name: str
    meaning: str
    value: float
    unit: str
    """SI; empty for a ratio or a count."""
    whole: bool = False
    """Whether only whole numbers make sense."""
    scaled: Callable[[Cluster, float], Cluster]
    """The cluster with the figure multiplied; tiers are not yet derived anew."""
    assumption: str = ""
    """What is taken for granted when it changes."""


def cluster_figures(cluster: Cluster, precision: Precision) -> dict[str, Figure]:
    """Every figure that ``cluster`` has, by name. Raises NoData without a peak for ``precision``."""
    figures = [*_device_figures(cluster, precision), *_node_figures(cluster), *_fabric_figures(cluster)]
    if (price := cluster.usd_per_device_hour) is not None:
        figures.append(
            Figure(
                name="cluster.usd_per_device_hour",
                meaning="price of a device-hour",
                value=price.value,
                unit="USD/h",
                scaled=lambda c, factor: replace(c, usd_per_device_hour=_times(c.usd_per_device_hour, factor)),
            )
        )
    return {figure.name: figure for figure in figures}


def rewired(cluster: Cluster, num_devices: int) -> Cluster:
    """``cluster`` at ``num_devices``, its tiers derived anew. Raises InputError where its parts do not go together."""
    if cluster.fabric is not None:
        check_fabric(cluster.fabric, cluster.node, cluster.machine)
    return replace(cluster, tiers=reduce_to_tiers(cluster.fabric, cluster.machine)).sized(num_devices)


def _times(fact: Any, factor: float, *, whole: bool = False) -> Any:
    """``fact`` (or None) with its value multiplied and its source replaced."""
    if fact is None:
        return None
    assert isinstance(fact, Fact)
    value = fact.value * factor
    return fact.model_copy(update={"value": round(value) if whole else value, "how": "assumed", "source": SOURCE})


def _device_figures(cluster: Cluster, precision: Precision) -> list[Figure]:
    device = cluster.device
    return [
        Figure(
            name="device.peak_flops",
            meaning="dense peak of the matmuls, all formats alike",
            value=device.peak_flops_per_s(precision),
            unit="FLOP/s",
            scaled=_scale_peak,
            assumption=RESIDUALS_STAY,
        ),
        Figure(
            name="device.memory_bandwidth",
            meaning="bandwidth of the device memory",
            value=device.memory_bandwidth_bytes_per_s,
            unit="B/s",
            scaled=lambda c, factor: _with_device(c, memory_bandwidth=_times(c.device.memory_bandwidth, factor)),
            assumption=RESIDUALS_STAY,
        ),
        Figure(
            name="device.memory_capacity",
            meaning="device memory that a process can allocate",
            value=device.memory_capacity_bytes,
            unit="B",
            scaled=lambda c, factor: _with_device(
                c,
                memory_capacity=_times(c.device.memory_capacity, factor),
                memory_usable=_times(c.device.memory_usable, factor),
            ),
        ),
        Figure(
            name="device.compute_derate",
            meaning="seconds of matmuls and attention over those of the tables, by the device's clocks",
            value=cluster.compute_derate,
            unit="",
            scaled=lambda c, factor: replace(c, compute_derate=c.compute_derate * factor),
        ),
        Figure(
            name="cluster.matmul_derate",
            meaning="seconds of matmuls over those of the tables, on this machine",
            value=cluster.matmul_derate,
            unit="",
            scaled=lambda c, factor: replace(c, matmul_derate=c.matmul_derate * factor),
        ),
    ]


def _scale_peak(cluster: Cluster, factor: float) -> Cluster:
    peaks = {key: _times(fact, factor) for key, fact in cluster.device.peak_flops.items()}
    return _with_device(cluster, peak_flops=peaks)


def _with_device(cluster: Cluster, **changes: object) -> Cluster:
    return replace(cluster, device=cluster.device.model_copy(update=changes))


def _node_figures(cluster: Cluster) -> list[Figure]:
    """Bandwidth and latency of the links of a node, and how many of them there are."""
    figures = []
    figures += _link_figures(cluster, "scale_up", "node.scale_up.{}", "a device's scale-up links")
    figures += _link_figures(cluster, "host", "device.host_link.{}", "a device's way to its host")
    figures += _host_figures(cluster)
    figures += _link_figures(cluster, "nics", "node.scale_out.nic_{}", "one network card")
    if cluster.machine.nics is not None:
        figures.append(
            Figure(
                name="node.scale_out.nics",
                meaning="network cards of a node",
                value=cluster.machine.nics.count,
                unit="",
                whole=True,
                scaled=_scale_nics,
                assumption="cards and devices share the node's PCI Express switches evenly, which may bind",
            )
        )
    if cluster.machine.scale_up is not None:
        figures.append(
            Figure(
                name="node.scale_up_domain",
                meaning="devices that reach each other over the scale-up links",
                value=cluster.machine.devices,
                unit="",
                whole=True,
                scaled=_scale_domain,
                assumption="the larger scale-up switch keeps bandwidth and latency of a device; the curves measured"
                " within a node are carried to more ranks by the bytes each rank sends",
            )
        )
    return figures


def _link_figures(cluster: Cluster, port: str, name: str, meaning: str) -> list[Figure]:
    """Bandwidth and latency of one kind of port of the machine, where it has any."""
    link = getattr(cluster.machine, port)
    if link is None:
        return []

    def scaled(*fields: str) -> Callable[[Cluster, float], Cluster]:
        def scale(changed: Cluster, factor: float) -> Cluster:
            part = getattr(changed.machine, port)
            part = replace(part, **{field: getattr(part, field) * factor for field in fields})
            return replace(changed, machine=replace(changed.machine, **{port: part}))

        return scale

    figures = [
        Figure(
            name=name.format("bandwidth"),
            meaning=f"bandwidth of {meaning}, one direction",
            value=link.bandwidth_bytes_per_s,
            unit="B/s",
            scaled=scaled("bandwidth_bytes_per_s", *(("copy_bytes_per_s",) if port == "host" else ())),
            assumption="" if port == "nics" else CURVES_MOVE,
        )
    ]
    if link.latency_s > 0:
        figures.append(
            Figure(
                name=name.format("latency"),
                meaning=f"latency of {meaning}",
                value=link.latency_s,
                unit="s",
                scaled=scaled("latency_s"),
                assumption="" if port == "nics" else CURVES_MOVE,
            )
        )
    return figures


def _host_figures(cluster: Cluster) -> list[Figure]:
    """Size and bandwidth of the host's memory, where they are known; only layouts that offload look at them."""

    def scaled(field: str) -> Callable[[Cluster, float], Cluster]:
        def scale(changed: Cluster, factor: float) -> Cluster:
            host = changed.node.host
            host = host.model_copy(update={field: _times(getattr(host, field), factor)})
            return replace(changed, node=changed.node.model_copy(update={"host": host}))

        return scale

    host, wanted = cluster.node.host, (("memory", "B", "size"), ("memory_bandwidth", "B/s", "bandwidth"))
    return [
        Figure(
            name=f"node.host.{field}",
            meaning=f"{meaning} of the host's memory",
            value=getattr(host, field).value,
            unit=unit,
            scaled=scaled(field),
        )
        for field, unit, meaning in wanted
        if getattr(host, field) is not None
    ]


def _scale_nics(cluster: Cluster, factor: float) -> Cluster:
    nics, fabric = cluster.machine.nics, cluster.fabric
    assert nics is not None
    count = round(nics.count * factor)
    if isinstance(fabric, FatTree) and fabric.rails is not None and count:
        rails = math.gcd(fabric.rails.value, count)
        fabric = fabric.model_copy(update={"rails": _times(fabric.rails, rails / fabric.rails.value, whole=True)})
    machine = replace(cluster.machine, nics=replace(nics, count=count))
    return replace(cluster, machine=machine, fabric=fabric)


def _scale_domain(cluster: Cluster, factor: float) -> Cluster:
    machine = cluster.machine
    devices = round(machine.devices * factor)
    if devices % machine.devices_per_node:
        raise InputError(
            f"node.scale_up_domain: {devices} is no multiple of the {machine.devices_per_node} devices of a node"
        )
    if machine.scale_up is not None and machine.scale_up.wiring != "switch":
        raise InputError(
            f"node.scale_up_domain: the devices are wired as {machine.scale_up.wiring}, without a switch to widen"
        )
    return replace(cluster, machine=replace(machine, nodes=devices // machine.devices_per_node))


def _fabric_figures(cluster: Cluster) -> list[Figure]:
    """Oversubscription of each level of a fat tree."""
    if not isinstance(cluster.fabric, FatTree):
        return []
    return [
        Figure(
            name=f"fabric.{level.name}.oversubscription",
            meaning=f"bandwidth from below over bandwidth into the switches of level {level.name}",
            value=level.oversubscription.value if level.oversubscription else 1.0,
            unit="",
            scaled=_scale_level(index),
        )
        for index, level in enumerate(cluster.fabric.levels)
    ]


def _scale_level(index: int) -> Callable[[Cluster, float], Cluster]:
    def scale(cluster: Cluster, factor: float) -> Cluster:
        assert isinstance(cluster.fabric, FatTree)
        levels = list(cluster.fabric.levels)
        old = levels[index].oversubscription
        value = (old.value if old else 1.0) * factor
        fact = RatioFact(value=value, how="assumed", source=SOURCE)
        levels[index] = levels[index].model_copy(update={"oversubscription": fact})
        return replace(cluster, fabric=cluster.fabric.model_copy(update={"levels": tuple(levels)}))

    return scale
