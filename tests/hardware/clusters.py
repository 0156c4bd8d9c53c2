"""Small cluster profiles as plain data, for the tests of this folder."""

from typing import Any

from glmplan.hardware.catalog import cluster_of
from glmplan.hardware.cluster import Cluster, ClusterProfile

Json = dict[str, Any]


def fact(value: object) -> Json:
    return {"value": value, "source": "test"}


def level(name: str, span_nodes: int, oversubscription: float | None = None) -> Json:
    record: Json = {"name": name, "span_nodes": fact(span_nodes)}
    if oversubscription is not None:
        record["oversubscription"] = fact(oversubscription)
    return record


def node(device: str = "h100-sxm-80gb", devices: int = 8, nics: int = 8, **more: object) -> Json:
    scale_out = {"link": "ib-ndr", "nics": fact(nics), "nic_bandwidth": fact("50 GB/s")}
    return {"name": "test-node", "device": device, "devices": fact(devices), "scale_out": scale_out, **more}


def profile(node_record: Json, fabric: Json | None, **more: object) -> Json:
    record: Json = {"name": "test", "node": node_record, "sources": {"test": {"title": "A test"}}, **more}
    return record if fabric is None else {**record, "fabric": fabric}


def cluster(node_record: Json, fabric: Json | None, **more: object) -> Cluster:
    return cluster_of(ClusterProfile.model_validate(profile(node_record, fabric, **more)))
