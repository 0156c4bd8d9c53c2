"""A cluster from the few figures that a publication prints, where no profile describes the machine."""

from glmplan.hardware.catalog import cluster_of, load_device, load_node
from glmplan.hardware.cluster import Cluster, ClusterProfile
from glmplan.hardware.fact import Source
from glmplan.units import exact_text

SOURCE = "description"


def described_cluster(
    *,
    name: str,
    device: str,
    devices_per_node: int,
    num_nodes: int,
    network_bytes_per_s_per_device: float | None,
    scale_up_bytes_per_s: float | None = None,
    scale_up_domain: int | None = None,
    without_scale_up: bool = False,
    network_link: str = "ib-ndr",
    matmul_derate: float = 1.0,
    host_of: str | None = None,
    title: str = "",
) -> Cluster:
    """A cluster of ``num_nodes`` equal nodes on one non-blocking network.

    Bandwidths are one direction. ``scale_up_bytes_per_s`` replaces the device's own (an export variant, a bridge);
    ``matmul_derate`` is what its matmuls take beside those of the device's tables. ``host_of`` names the node whose
    host stands in. ``without_scale_up`` leaves the peers to PCI Express. ``network_link`` gives the latency of a
    network step.
    Raises InputError for an unknown device or link.
    """
    known = load_device(device)
    node: dict[str, object] = {"name": f"{name}-node", "device": known.name, "devices": _given(devices_per_node)}
    if scale_up_domain is not None and scale_up_domain > devices_per_node:
        node["scale_up_domain"] = _given(scale_up_domain)
    if scale_up_bytes_per_s is not None and known.scale_up is not None:
        node["scale_up"] = {
            "link": known.scale_up.link,
            "wiring": known.scale_up.wiring,
            "bandwidth": _given(exact_text(scale_up_bytes_per_s, "B/s")),
        }
    if network_bytes_per_s_per_device is not None and num_nodes > 1:
        node["scale_out"] = {
            "link": network_link,
            "nics": _given(devices_per_node),
            "nic_bandwidth": _given(exact_text(network_bytes_per_s_per_device, "B/s")),
            "behind_host_link": False,
        }
    if host_of is not None:
        host = load_node(host_of).host.model_dump(mode="json", exclude_none=True)
        given = {key: _given(fact["value"]) for key, fact in host.items() if isinstance(fact, dict)}
        node["host"] = {"cpu": host["cpu"]} | given
    record: dict[str, object] = {"name": name, "title": title, "node": node}
    if matmul_derate != 1.0:
        record["matmul_derate"] = _given(matmul_derate)
    if without_scale_up:
        inline = known.model_dump(mode="json", exclude_none=True)
        inline.pop("scale_up", None)
        record["device"] = inline
    if num_nodes > 1:
        domain_nodes = max(1, (scale_up_domain or devices_per_node) // devices_per_node)
        span = -(-num_nodes // domain_nodes) * domain_nodes
        record["fabric"] = {"levels": [{"name": "network", "span_nodes": _given(span)}]}
        record["max_nodes"] = _given(num_nodes)
    record["sources"] = {SOURCE: Source(title=title or name).model_dump(mode="json", exclude_none=True)}
    return cluster_of(ClusterProfile.model_validate(record))


def _given(value: object) -> dict[str, object]:
    return {"value": value, "source": SOURCE}
