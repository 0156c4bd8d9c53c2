"""A case's hardware record as a cluster: the profile that an own run names, or one described by the device, the node
size and the rates that the case states.
"""

from functools import lru_cache
from typing import Any

from glmplan.hardware.catalog import load_cluster
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.described import described_cluster
from glmplan.layout.parallel_layout import Offload, ParallelLayout
from glmplan.plan.measurement import Measurement
from glmplan.units import BYTES_PER_S, parse_quantity
from glmplan.validation.case_fields import Fields, Unusable
from glmplan.validation.case_rules import taken

HARDWARE = "case_hardware.yaml"


def case_cluster(
    measurement: Measurement, fields: Fields, layout: ParallelLayout, profile: str | None = None
) -> Cluster:
    """The cluster of ``measurement``, of as many devices as the layout uses.

    ``profile`` stands for the profile that an own run names. Raises Unusable or InputError.
    """
    gpus = layout.world_size
    named = measurement.hardware.get("cluster")
    if named is not None:
        return _profile(profile or str(named), gpus)
    per_node = fields.whole("hardware.gpus_per_node", default=1 if gpus == 1 else None)
    if gpus < per_node and per_node % gpus:
        raise Unusable(f"hardware.gpus: {gpus} is not a whole share of a node of {per_node}")
    scale_up = taken(HARDWARE, "scale_up", measurement)
    machine = taken(HARDWARE, "machine", measurement)
    link, rate = _network(measurement, fields, crosses_nodes=gpus > per_node)
    return _described(
        str(fields.need("hardware.gpu")),
        gpus,
        per_node,
        _domain(measurement, per_node),
        link,
        rate,
        _bytes_per_s(scale_up["bandwidth"].value) if "bandwidth" in scale_up else None,
        "none" in scale_up,
        float(str(machine["matmul_derate"].value)) if "matmul_derate" in machine else 1.0,
        _host(measurement, fields) if layout.offload is not Offload.NONE else None,
    )


@lru_cache(maxsize=64)
def _profile(name: str, gpus: int) -> Cluster:
    return load_cluster(name).sized(gpus)


@lru_cache(maxsize=1024)
def _described(
    device: str,
    gpus: int,
    per_node: int,
    domain: int,
    link: str,
    network_bytes_per_s: float,
    scale_up_bytes_per_s: float | None,
    without_scale_up: bool,
    matmul_derate: float,
    host_of: str | None,
) -> Cluster:
    return described_cluster(
        name="case",
        device=device,
        devices_per_node=per_node,
        num_nodes=-(-gpus // per_node),
        network_bytes_per_s_per_device=network_bytes_per_s,
        scale_up_bytes_per_s=scale_up_bytes_per_s,
        scale_up_domain=domain,
        without_scale_up=without_scale_up,
        network_link=link,
        matmul_derate=matmul_derate,
        host_of=host_of,
    ).sized(gpus)


def _host(measurement: Measurement, fields: Fields) -> str | None:
    """The node whose host stands in for the case's, which no case states."""
    rule = taken(HARDWARE, "host", measurement).get("node")
    if rule is None:
        return None
    fields.assume("hardware.host", rule)
    return str(rule.value)


def _domain(measurement: Measurement, per_node: int) -> int:
    """Devices of one scale-up domain."""
    domain = measurement.hardware.get("nvlink_domain") or per_node
    if not isinstance(domain, int) or domain % per_node:
        raise Unusable(f"contradictory: hardware.nvlink_domain: {domain} is not a multiple of {per_node} GPUs a node")
    return domain


def _network(measurement: Measurement, fields: Fields, *, crosses_nodes: bool) -> tuple[str, float]:
    """Link profile and bytes/s per GPU; the usual ones of the device where the case states none.

    Raises Unusable where the stated rate is no rate.
    """
    network = measurement.hardware.get("inter_node")
    rule = taken(HARDWARE, "scale_out", measurement)
    rate: Any = network.get("bytes_per_s_per_gpu") if isinstance(network, dict) else None
    if rate is None:
        if crosses_nodes:
            fields.assume("hardware.inter_node.bytes_per_s_per_gpu", rule["rate"])
        rate = _bytes_per_s(rule["rate"].value)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate <= 0:
        raise Unusable(f"contradictory: hardware.inter_node.bytes_per_s_per_gpu: expected a rate above 0; got {rate!r}")
    return str(rule["link"].value), float(rate)


def _bytes_per_s(text: str) -> float:
    return parse_quantity(text, BYTES_PER_S)
