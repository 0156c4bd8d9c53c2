"""Longest paths, against graphs drawn by hand."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.cost.critical_path import critical_path_s
from glmplan.workload.operation import Number

SECONDS = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 3.0, "e": 0.5}


def graph_of(*edges: str, alone: str = "") -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(alone)
    graph.add_edges_from((edge[0], edge[1]) for edge in edges)
    return graph


@pytest.mark.parametrize(
    ("graph", "longest"),
    [
        (graph_of("ab", "bc", "cd"), 11.0),
        (graph_of("ab", "ac", "bd", "cd"), 9.0),
        (graph_of("ab", "cd"), 8.0),
        (graph_of("ab", "ac", "cd", "bd", "ae", "ed"), 9.0),
        (graph_of("ab", alone="c"), 5.0),
        (graph_of(alone="a"), 1.0),
        (graph_of(), 0.0),
    ],
)
def test_the_longest_path_of_a_hand_drawn_graph(graph: "nx.DiGraph[str]", longest: float) -> None:
    assert float(np.asarray(critical_path_s(graph, SECONDS))) == longest


def test_each_layout_has_its_own_longest_path() -> None:
    seconds: dict[str, Number] = {"a": 1.0, "b": np.array([2.0, 7.0]), "c": np.array([5.0, 1.0]), "d": 0.0}
    assert np.asarray(critical_path_s(graph_of("ab", "ac", "bd", "cd"), seconds)).tolist() == [6.0, 8.0]


def test_work_without_seconds_takes_none() -> None:
    assert float(np.asarray(critical_path_s(graph_of("ax", "xb"), SECONDS))) == 3.0


def test_a_circle_is_refused() -> None:
    with pytest.raises(nx.NetworkXUnfeasible):
        critical_path_s(graph_of("ab", "ba"), SECONDS)


@settings(max_examples=50)
@given(data=st.data(), size=st.integers(1, 8))
def test_networkx_finds_the_same_longest_path(data: st.DataObject, size: int) -> None:
    """A second way: the weight of ``dag_longest_path`` with the node's seconds on its incoming edges."""
    seconds = {str(i): data.draw(st.floats(0, 10)) for i in range(size)}
    edges = [(i, j) for i in range(size) for j in range(i + 1, size) if data.draw(st.booleans())]
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(seconds)
    graph.add_edges_from((str(i), str(j)) for i, j in edges)
    weighted: nx.DiGraph[str] = nx.DiGraph()
    for i, j in edges:
        weighted.add_edge(str(i), str(j), weight=seconds[str(j)])
    for name in seconds:
        weighted.add_edge("start", name, weight=seconds[name])
    expected = nx.dag_longest_path_length(weighted)
    assert float(np.asarray(critical_path_s(graph, seconds))) == pytest.approx(expected)
