"""Collectives: closed forms, the measured tables themselves, and where nodes end."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cost.collective import NETWORK_EFFICIENCY, CollectiveModel, bus_factor, collective_model
from glmplan.hardware.tiers import Tier
from glmplan.layout.communication import Collective, Communication, Group, Purpose
from tests.small_jobs import cluster_of

NODE, WIRE = 300e9, 25e9


def tier(name: str, span: int, bandwidth: float, **fields: Any) -> Tier:
    """A tier of bandwidth in bytes per second for each device."""
    plain: dict[str, Any] = {"latency_s": 0.0, "link": name, "in_switch_reduction": False, "scale_up": span <= 8}
    return Tier(name=name, span_devices=span, bandwidth_bytes_per_s=bandwidth, **(plain | fields))


FLAT = CollectiveModel(tiers=(tier("node", 8, NODE), tier("net", 1024, WIRE)), devices_per_node=8)


def seconds(
    model: CollectiveModel, kind: Collective, size: float, ranks: float, stride: float = 1.0, **group: Any
) -> float:
    message = Communication(
        name="x",
        purpose=Purpose.DATA,
        collective=kind,
        bytes=np.array([size]),
        group=Group(ranks=ranks, stride=stride, **group),
        backward=False,
    )
    return float(model.seconds(message).item())


@pytest.mark.parametrize(
    ("kind", "ranks", "factor"),
    [
        (Collective.ALL_REDUCE, 2, 1.0),
        (Collective.ALL_REDUCE, 8, 1.75),
        (Collective.ALL_GATHER, 8, 0.875),
        (Collective.REDUCE_SCATTER, 4, 0.75),
        (Collective.ALL_TO_ALL, 8, 0.875),
        (Collective.SEND_RECV, 2, 1.0),
        (Collective.ALL_REDUCE, 1, 0.0),
        (Collective.SEND_RECV, 1, 0.0),
    ],
)
def test_bus_factors_are_those_of_nccl_tests(kind: Collective, ranks: int, factor: float) -> None:
    """nccl-tests, doc/PERFORMANCE.md, section "Bus bandwidth"."""
    assert float(bus_factor(kind, ranks)) == factor


@given(ranks=st.integers(1, 4096))
def test_a_ring_all_reduce_sends_a_reduce_scatter_and_an_all_gather(ranks: int) -> None:
    halves = bus_factor(Collective.REDUCE_SCATTER, ranks) + bus_factor(Collective.ALL_GATHER, ranks)
    assert float(bus_factor(Collective.ALL_REDUCE, ranks)) == pytest.approx(float(halves))


@pytest.mark.parametrize("kind", list(Collective))
def test_one_rank_and_no_bytes_take_no_time(kind: Collective) -> None:
    assert seconds(FLAT, kind, 1e9, 1) == 0.0
    assert seconds(FLAT, kind, 0.0, 8) == 0.0


@pytest.mark.parametrize("kind", [Collective.ALL_REDUCE, Collective.ALL_GATHER, Collective.REDUCE_SCATTER])
@pytest.mark.parametrize("nodes", [2, 16, 128])
def test_across_nodes_every_card_of_a_node_carries_its_share(kind: Collective, nodes: int) -> None:
    """Ring over n ranks, eight cards a node: bus bytes over the bandwidth of the node's cards together."""
    n, size = 8 * nodes, 1e9
    expected = float(bus_factor(kind, n)) * size / (8 * WIRE * NETWORK_EFFICIENCY)
    assert seconds(FLAT, kind, size, n) == pytest.approx(expected, rel=1e-12)


def test_strided_groups_share_the_cards_of_a_node() -> None:
    """Eight groups of one member a node each: every group has one card, so eight times the time of one group on all."""
    assert seconds(FLAT, Collective.ALL_REDUCE, 1e9, 16, 8) == pytest.approx(
        float(bus_factor(Collective.ALL_REDUCE, 16)) * 1e9 / (WIRE * NETWORK_EFFICIENCY)
    )


def test_an_all_to_all_sends_what_leaves_the_node_through_one_card() -> None:
    assert seconds(FLAT, Collective.ALL_TO_ALL, 1e9, 16) == pytest.approx(1e9 * 8 / 16 / (WIRE * NETWORK_EFFICIENCY))


@pytest.mark.parametrize(("ranks", "stride"), [(2, 1), (8, 1), (4, 2), (2, 4)])
def test_groups_that_divide_a_node_stay_inside(ranks: int, stride: int) -> None:
    alone = CollectiveModel(tiers=FLAT.tiers[:1], devices_per_node=8)
    inside = seconds(alone, Collective.ALL_GATHER, 1e8, ranks, stride)
    assert seconds(FLAT, Collective.ALL_GATHER, 1e8, ranks, stride) == inside


@pytest.mark.parametrize(("ranks", "stride"), [(16, 1), (2, 8), (3, 1), (6, 1), (3, 2), (5, 1)])
def test_groups_that_do_not_divide_a_node_cross_the_network(ranks: int, stride: int) -> None:
    """Ranks 6 to 8 of groups of three: the third group of such straddles the first node's end."""
    alone = CollectiveModel(tiers=FLAT.tiers[:1], devices_per_node=8)
    assert seconds(FLAT, Collective.ALL_GATHER, 1e8, ranks, stride) > seconds(
        alone, Collective.ALL_GATHER, 1e8, min(ranks, 8), 1
    )


def test_a_pipeline_longer_than_a_node_crosses_the_network_somewhere() -> None:
    """Stages of four devices: the second passes to the third, in the next node."""
    inside = seconds(FLAT, Collective.SEND_RECV, 1e8, 2, 4, chain=2)
    across = seconds(FLAT, Collective.SEND_RECV, 1e8, 2, 4, chain=4)
    assert across == pytest.approx(1e8 / (WIRE * NETWORK_EFFICIENCY))
    assert inside < across


def test_a_rack_of_72_holds_groups_of_whole_trays() -> None:
    racks = cluster_of("gb200-nvl72", 288)
    model = collective_model(racks)
    assert racks.tiers[0].span_devices == 72
    inner, outer = (seconds(model, Collective.ALL_GATHER, 1e9, ranks) for ranks in (64, 144))
    assert seconds(model, Collective.ALL_GATHER, 1e9, 72) < outer
    assert inner < outer
    assert seconds(model, Collective.ALL_TO_ALL, 1e9, 64) < seconds(model, Collective.ALL_TO_ALL, 1e9, 96)


def test_crossing_a_node_costs_more_than_staying_inside() -> None:
    model = collective_model(cluster_of("dgx-a100-pod", 64))
    for kind in (Collective.ALL_GATHER, Collective.REDUCE_SCATTER, Collective.ALL_REDUCE, Collective.ALL_TO_ALL):
        assert seconds(model, kind, 1e9, 16) > seconds(model, kind, 1e9, 8)
    assert seconds(model, Collective.ALL_REDUCE, 1e9, 8, 8) > seconds(model, Collective.ALL_REDUCE, 1e9, 8, 1)


@pytest.mark.parametrize("name", ["dgx-a100-pod", "dgx-h100-pod"])
def test_the_model_repeats_the_measured_table(name: str) -> None:
    """Rows whose op, ranks and size stand alone and that lie on the rising part of their curve are met exactly."""
    cluster = cluster_of(name, 8)
    table, model = cluster.measured.collective_table(), collective_model(cluster)
    assert table is not None
    compared = 0
    for op in np.unique(table.op):
        for ranks in np.unique(table.ranks[table.op == op]):
            rows = np.flatnonzero((table.op == op) & (table.ranks == ranks))
            rows = rows[np.argsort(table.bytes[rows], kind="stable")]
            sizes, counts = np.unique(table.bytes[rows], return_counts=True)
            highest = np.maximum.accumulate(table.seconds[rows])
            for row, top in zip(rows, highest, strict=True):
                alone = counts[np.searchsorted(sizes, table.bytes[row])] == 1
                if alone and counts.max() == 1 and table.seconds[row] == top and 8 % ranks == 0:
                    predicted = seconds(model, Collective(str(op)), float(table.bytes[row]), float(ranks))
                    assert predicted == pytest.approx(table.seconds[row], rel=1e-6)
                    compared += 1
    assert compared >= 20


@given(
    kind=st.sampled_from(list(Collective)),
    ranks=st.sampled_from([2, 4, 8, 16, 64]),
    stride=st.sampled_from([1, 2, 8]),
    size=st.floats(1e3, 1e10),
    factor=st.floats(1.0, 100.0),
)
def test_more_bytes_are_never_faster(kind: Collective, ranks: int, stride: int, size: float, factor: float) -> None:
    for model in (FLAT, collective_model(cluster_of("dgx-a100-pod", 1024))):
        assert seconds(model, kind, size * factor, ranks, stride) >= seconds(model, kind, size, ranks, stride) * (
            1 - 1e-9
        )


@given(
    kind=st.sampled_from(list(Collective)),
    ranks=st.sampled_from([2, 8, 16, 64]),
    size=st.floats(1e3, 1e10),
    node=st.floats(1.0, 10.0),
    wire=st.floats(1.0, 10.0),
)
def test_more_bandwidth_is_never_slower(kind: Collective, ranks: int, size: float, node: float, wire: float) -> None:
    faster = CollectiveModel(tiers=(tier("node", 8, NODE * node), tier("net", 1024, WIRE * wire)), devices_per_node=8)
    assert seconds(faster, kind, size, ranks) <= seconds(FLAT, kind, size, ranks) * (1 + 1e-12)


def test_a_group_in_a_mesh_has_the_links_among_its_members_only() -> None:
    """MI300X: seven links of 64 GB/s to the seven others of a node; two GPUs exchange over one of them."""
    mesh = CollectiveModel(tiers=(tier("xgmi", 8, 7 * 64e9, direct=True), tier("net", 1024, WIRE)), devices_per_node=8)
    switch = CollectiveModel(tiers=(tier("switch", 8, 7 * 64e9), tier("net", 1024, WIRE)), devices_per_node=8)
    for ranks, share in ((2, 1 / 7), (4, 3 / 7), (8, 1.0)):
        assert seconds(mesh, Collective.ALL_REDUCE, 1e9, ranks) * share == pytest.approx(
            seconds(switch, Collective.ALL_REDUCE, 1e9, ranks)
        )


def test_the_scale_up_tier_of_mi300x_is_a_mesh_and_that_of_h100_is_not() -> None:
    assert cluster_of("mi300x-cluster", 16).tiers[0].direct
    assert not cluster_of("dgx-h100-pod", 16).tiers[0].direct
