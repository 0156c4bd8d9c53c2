from collections import Counter

import networkx as nx

from glmplan.hardware.catalog import load_cluster
from tests.hardware.clusters import cluster, fact, level, node


def test_the_graph_has_every_device_card_and_switch():
    got = load_cluster("dgx-h100-pod").sized(512)
    kinds = Counter(kind for _, kind in got.graph().nodes(data="kind"))
    # 64 nodes: two scalable units of 8 leaf switches (DGX SuperPOD H100, table 4), one spine level
    assert kinds == {
        "device": 512,
        "nic": 512,
        "pcie-switch": 512,
        "node-switch": 64,
        "host-bridge": 64,
        "leaf": 16,
        "spine": 1,
    }


def test_every_device_reaches_every_other():
    assert nx.is_connected(load_cluster("gb200-nvl72").sized(576).graph())


def test_every_edge_has_bandwidth_and_latency():
    for _, _, edge in load_cluster("aws-p5").sized(256).graph().edges(data=True):
        assert edge["bandwidth_bytes_per_s"] > 0
        assert edge["latency_s"] >= 0


def test_cards_go_to_the_leaf_of_their_rail():
    graph = cluster(node(), {"rails": fact(8), "levels": [level("leaf", 4)]}).graph()
    rails = {graph.nodes[name]["kind"]: name for name in graph}
    assert rails["leaf"].endswith("rail-7")
    for name, kind in graph.nodes(data="kind"):
        if kind == "leaf":
            assert graph.degree(name) == 4


def test_the_graph_of_sixteen_thousand_devices_is_drawn_whole():
    graph = load_cluster("dgx-h100-pod").graph()
    assert sum(kind == "device" for _, kind in graph.nodes(data="kind")) == 16384


def test_a_part_of_a_scale_up_domain_is_drawn_alone():
    graph = load_cluster("gb200-nvl72").sized(8).graph()
    assert sum(kind == "device" for _, kind in graph.nodes(data="kind")) == 8
