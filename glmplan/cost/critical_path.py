"""The longest path through a rank's graph whose node weights are arrays over layouts."""

from collections.abc import Mapping

import networkx as nx
import numpy as np

from glmplan.workload.operation import Number


def critical_path_s(graph: "nx.DiGraph[str]", seconds: Mapping[str, Number]) -> Number:
    """Seconds from start to end when each node starts once all its predecessors are done.

    Raises networkx.NetworkXUnfeasible for a graph with a cycle.
    """
    finish: dict[str, Number] = {}
    for name in nx.topological_sort(graph):
        start: Number = 0.0
        for before in graph.predecessors(name):
            start = np.maximum(start, finish[before])
        finish[name] = start + seconds.get(name, 0.0)
    longest: Number = 0.0
    for value in finish.values():
        longest = np.maximum(longest, value)
    return longest
