"""The reduction of the graph to tiers, against cases worked out by hand."""

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.hardware.catalog import load_cluster
from tests.hardware.clusters import cluster, fact, level, node


def bandwidths(of):
    return {tier.name: tier.bandwidth_bytes_per_s for tier in of.tiers}


def test_one_card_a_device_gives_the_cards_bandwidth():
    got = cluster(node(), {"levels": [level("leaf", 4), level("spine", 16)]})
    assert bandwidths(got) == {"nvlink4": 450e9, "leaf": 50e9, "spine": 50e9}
    assert [tier.span_devices for tier in got.tiers] == [8, 32, 128]


def test_oversubscription_of_two_to_one_halves_what_crosses_the_spine():
    got = cluster(node(), {"levels": [level("leaf", 4), level("spine", 16, 2)]})
    assert bandwidths(got) == {"nvlink4": 450e9, "leaf": 50e9, "spine": 25e9}


def test_oversubscription_multiplies_over_levels():
    got = cluster(node(), {"levels": [level("leaf", 2), level("pod", 8, 2), level("core", 32, 4)]})
    assert bandwidths(got)["core"] == pytest.approx(50e9 / 8)


def test_a_wider_uplink_gives_no_more_than_the_cards():
    got = cluster(node(), {"levels": [level("leaf", 4), level("spine", 16, 0.5)]})
    assert bandwidths(got)["spine"] == 50e9


def test_four_cards_for_eight_devices_halve_the_share():
    assert bandwidths(cluster(node(nics=4), {"levels": [level("leaf", 4)]}))["leaf"] == 25e9


def test_one_card_for_eight_devices_is_shared_by_all():
    assert bandwidths(cluster(node(nics=1), {"levels": [level("leaf", 4)]}))["leaf"] == pytest.approx(50e9 / 8)


def test_the_host_link_limits_cards_that_are_faster():
    record = node()
    record["scale_out"]["nic_bandwidth"] = fact("100 GB/s")
    # PCI Express 5 x16 carries 63 GB/s to a card of 100 GB/s
    assert bandwidths(cluster(record, {"levels": [level("leaf", 4)]}))["leaf"] == 63e9


def test_devices_without_scale_up_share_through_pci_express():
    got = cluster(node(device="l40s"), None)
    assert bandwidths(got) == {"pcie4-x16": 31e9}


def test_bridged_pairs_make_a_tier_of_two():
    got = cluster(node(device="a100-pcie-80gb"), None)
    assert [(tier.name, tier.span_devices) for tier in got.tiers] == [("nvlink3", 2), ("pcie4-x16", 8)]
    assert bandwidths(got) == {"nvlink3": 300e9, "pcie4-x16": 31e9}


def test_a_mesh_offers_all_links_of_a_device_together():
    got = cluster(node(device="mi300x"), None)
    assert bandwidths(got)["xgmi-mi300x"] == pytest.approx(448e9)


def test_a_rack_of_eighteen_trays_is_one_scale_up_domain():
    record = node(device="gb200", devices=4, nics=4, scale_up_domain=fact(72))
    got = cluster(record, {"levels": [level("leaf", 36)]})
    assert [(tier.span_devices, tier.bandwidth_bytes_per_s) for tier in got.tiers] == [(72, 900e9), (144, 50e9)]


def test_a_hand_made_tree_is_as_wide_as_its_narrowest_part():
    switches = [
        {"name": "top"},
        {"name": "a", "parent": "top", "uplink": fact("800 GB/s"), "nodes": 2},
        {"name": "b", "parent": "top", "uplink": fact("400 GB/s"), "nodes": 2},
    ]
    got = cluster(node(), {"kind": "tree", "switches": switches})
    # 16 devices below b share 400 GB/s
    assert bandwidths(got) == {"nvlink4": 450e9, "level-0": 50e9, "top": 25e9}


def test_published_oversubscription_comes_out():
    # Llama 3, arXiv:2407.21783, section 3.3.1: pods of 3,072 devices, 1:7 above them
    got = load_cluster("llama3-24k")
    assert [tier.span_devices for tier in got.tiers] == [8, 16, 3072, 24576]
    assert bandwidths(got)["pod"] == 50e9
    assert bandwidths(got)["aggregation"] == pytest.approx(50e9 / 7)


def test_the_steps_latency_is_the_link_and_the_switches_crossed():
    tiers = {tier.name: tier.latency_s for tier in load_cluster("dgx-h100-pod").tiers}
    # same leaf: one switch of 330 ns; other leaf: three; through the core: five
    assert tiers["leaf"] == pytest.approx(15e-6 + 1 * 330e-9)
    assert tiers["spine"] == pytest.approx(15e-6 + 3 * 330e-9)
    assert tiers["core"] == pytest.approx(15e-6 + 5 * 330e-9)


@settings(deadline=None, max_examples=10)
@given(
    nics=st.sampled_from([1, 2, 4, 8]),
    leaf=st.integers(2, 3),
    leaves=st.integers(2, 3),
    oversubscription=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    rails=st.sampled_from([1, 2]),
)
def test_merging_equal_parts_leaves_the_flow_of_the_full_graph(nics, leaf, leaves, oversubscription, rails):
    fabric = {
        "rails": fact(min(rails, nics)),
        "levels": [level("leaf", leaf), level("spine", leaf * leaves, oversubscription)],
    }
    got = cluster(node(nics=nics), fabric)
    graph = got.graph()
    flow = nx.DiGraph()
    for one, other, edge in graph.edges(data=True):
        for tail, head in ((one, other), (other, one)):
            flow.add_edge(tail, head, capacity=round(edge["bandwidth_bytes_per_s"]))
    first = [name for name, kind in graph.nodes(data="kind") if kind == "device"]
    inside = [name for name in first if name.startswith("leaf-0.0/")]
    flow.add_edges_from(("source", name) for name in inside)
    flow.add_edges_from((name, "sink") for name in first if name not in inside)
    assert len(inside) == leaf * 8
    by_hand = nx.maximum_flow_value(flow, "source", "sink") / len(inside)
    assert got.tiers[-1].bandwidth_bytes_per_s == pytest.approx(by_hand, rel=1e-6)
