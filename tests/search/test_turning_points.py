"""Turning points: on both sides of each the order of the two layouts is the one that is said."""

from functools import cache

import numpy as np

from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Sharding
from glmplan.search.planner import Problem, load_problem
from glmplan.search.sensitivity import with_figure
from glmplan.search.turning_points import turning_points
from tests.search.test_planner import request_for

SPLIT = ParallelLayout(tp=8, sequence_parallel=True, dp=2, sharding=Sharding.ZERO1, shard_group=2, grad_accum=16)
"""Sends most inside a node."""
GATHERED = ParallelLayout(dp=16, sharding=Sharding.FSDP, shard_group=16, grad_accum=2)
"""Sends all parameters between the nodes."""


@cache
def slow_network() -> Problem:
    """Llama-3 8B on two nodes that share 400 Gb/s each."""
    return load_problem(request_for(cluster="aws-p4d", num_gpus=16, global_batch=32, seq_len=2048))


def lead(name: str, factor: float) -> float:
    model = with_figure(slow_network(), name, factor).model
    times = np.sum(list(model.times(model.work(LayoutTable.of(SPLIT, GATHERED))).values()), axis=0)
    return float(times[1] - times[0])


def test_the_order_changes_at_the_point() -> None:
    points = turning_points(slow_network(), SPLIT, GATHERED)
    sizes = [abs(np.log(point.factor)) for point in points]
    assert sizes == sorted(sizes)
    for point in points:
        assert lead(point.name, point.factor) < 0 <= lead(point.name, point.factor**0.9)
        side = "above" if point.factor > 1 else "below"
        assert f"With {point.name} {side} {point.after}" in point.sentence(GATHERED)
    factors = {point.name: point.factor for point in points}
    assert factors["node.scale_out.nic_bandwidth"] > 1
    assert factors["device.peak_flops"] < 1
    assert turning_points(slow_network(), SPLIT, GATHERED, most=1) == points[:1]


def test_a_layout_never_overtakes_itself() -> None:
    assert turning_points(slow_network(), SPLIT, SPLIT) == ()
