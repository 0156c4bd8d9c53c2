"""Turning points: on both sides of each the order of the two layouts is the one that is said."""

import numpy as np
import pytest

from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Sharding
from glmplan.search.sensitivity import with_figure
from glmplan.search.turning_points import turning_points
from tests.search.planned_jobs import small_problem

SENDING = ParallelLayout(dp=16, sharding=Sharding.ZERO1, shard_group=16, grad_accum=2)
SAVING = ParallelLayout(tp=2, sequence_parallel=True, dp=8, sharding=Sharding.ZERO1, shard_group=8, grad_accum=4)


def lead(name: str, factor: float, chosen: ParallelLayout, rival: ParallelLayout) -> float:
    model = with_figure(small_problem(), name, factor).model
    times = np.sum(list(model.times(model.work(LayoutTable.of(chosen, rival))).values()), axis=0)
    return float(times[1] - times[0])


def test_the_order_changes_at_the_point() -> None:
    chosen, rival = SENDING, SAVING
    if lead("device.peak_flops", 1.0, chosen, rival) < 0:
        chosen, rival = rival, chosen
    points = turning_points(small_problem(), chosen, rival)
    assert points
    sizes = [abs(np.log(point.factor)) for point in points]
    assert sizes == sorted(sizes)
    for point in points:
        inside = point.factor**0.95
        assert lead(point.name, point.factor, chosen, rival) < 0 <= lead(point.name, inside, chosen, rival)
        side = "above" if point.factor > 1 else "below"
        assert f"With {point.name} {side} {point.after}" in point.sentence(rival)


def test_a_layout_never_overtakes_itself() -> None:
    assert turning_points(small_problem(), SENDING, SENDING) == ()


@pytest.mark.parametrize("most", [1, 2])
def test_only_the_nearest_points_are_kept(most: int) -> None:
    assert len(turning_points(small_problem(), SENDING, SAVING, most=most)) <= most
