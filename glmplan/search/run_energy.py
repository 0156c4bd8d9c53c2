"""Power and energy of a training run, from ratings and a measured share of them. Estimates: nothing here is metered."""

from dataclasses import dataclass

from glmplan.errors import NoData
from glmplan.hardware.catalog import load_table
from glmplan.hardware.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a cluster draws while it trains, without the building."""

    watts: float
    source: str


def training_draw(cluster: Cluster) -> Draw:
    """Power of all nodes while training.

    P = N r R, with N nodes, r the share of the rating that training draws (0.76, Newkirk 2025, arXiv:2506.14551; their
    models are within 11 %, ratings alone 27 to 37 % too high) and R a node's rating; where no rating is known, R is the
    devices' design power over their share of a node. Networks and storage are left out.
    Raises NoData where neither power is known.
    """
    table = load_table("power")
    share = _number(table.figure("training_draw", "node_share_of_rating").value)
    if cluster.node.power is not None:
        rating = cluster.node.power.value * cluster.num_devices / cluster.node.devices.value
        return Draw(watts=share * rating, source=f"{share:.0%} of the node's rating")
    if cluster.device.tdp_watts is None:
        raise NoData(f"energy: neither {cluster.node.name} nor {cluster.device.name} has a known power")
    devices = _number(table.figure("training_draw", "devices_share_of_node").value)
    rating = cluster.device.tdp_watts * cluster.num_devices / devices
    return Draw(watts=share * rating, source=f"{share:.0%} of a node's rating, taken as the devices' over {devices}")


def energy_kwh(watts: float, seconds: float, pue: float) -> float:
    """Energy with the building's share: P t PUE, in kWh.

    >>> energy_kwh(1000.0, 7200.0, 1.5)
    3.0
    """
    return watts * seconds * pue / 3.6e6


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
