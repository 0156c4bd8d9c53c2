"""Where groups lie: held against an enumeration of all ranks."""

import itertools

import numpy as np
import pytest

from glmplan.layout.communication import Group
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Sharding
from glmplan.layout.placement import (
    context_group,
    data_group,
    expert_data_group,
    expert_group,
    pipeline_group,
    replicate_group,
    shard_group,
    tensor_group,
)

LAYOUTS = [
    ParallelLayout(tp=2, cp=2, dp=4, pp=2, ep=4, sharding=Sharding.HSDP, shard_group=4),
    ParallelLayout(tp=4, dp=2, pp=3, ep=2, sharding=Sharding.FSDP, shard_group=2),
    ParallelLayout(dp=8, ep=4, sharding=Sharding.HSDP, shard_group=2),
    ParallelLayout(tp=8),
]


def members(group: Group) -> list[int]:
    """Ranks of the group that starts at rank 0."""
    ranks, stride = (int(np.asarray(value).item()) for value in (group.ranks, group.stride))
    return [index * stride for index in range(ranks)]


def ranks_that_share(layout: ParallelLayout, *fixed: str) -> list[int]:
    """Ranks equal to rank 0 in all coordinates but the free ones: tensor, context, data, pipeline, innermost first."""
    sizes = {"tp": layout.tp, "cp": layout.cp, "dp": layout.dp, "pp": layout.pp}
    found = []
    for index, coordinates in enumerate(itertools.product(*[range(n) for n in reversed(sizes.values())])):
        position = dict(zip(reversed(sizes), coordinates, strict=True))
        if all(position[name] == 0 for name in sizes if name in fixed):
            found.append(index)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_groups_are_the_ranks_that_share_the_other_coordinates(layout: ParallelLayout) -> None:
    table = LayoutTable.of(layout)
    assert members(tensor_group(table)) == ranks_that_share(layout, "cp", "dp", "pp")
    assert members(context_group(table)) == ranks_that_share(layout, "tp", "dp", "pp")
    assert members(data_group(table)) == ranks_that_share(layout, "tp", "pp")
    assert members(pipeline_group(table)) == ranks_that_share(layout, "tp", "cp", "dp")[:2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_expert_and_shard_groups_partition_the_data_group(layout: ParallelLayout) -> None:
    table = LayoutTable.of(layout)
    data = members(data_group(table))
    for inner, outer in ((expert_group, expert_data_group), (shard_group, replicate_group)):
        reached = sorted(a + b for a in members(inner(table)) for b in members(outer(table)))
        assert reached == data


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_group_of_degree_one_has_one_rank(layout: ParallelLayout) -> None:
    table = LayoutTable.of(layout)
    for group, degree in (
        (tensor_group(table), layout.tp),
        (context_group(table), layout.cp),
        (expert_group(table), layout.ep),
        (data_group(table), layout.dp * layout.cp),
        (pipeline_group(table), min(layout.pp, 2)),
    ):
        assert len(members(group)) == degree


def test_a_pipeline_lies_among_all_devices_and_a_tensor_group_among_its_own() -> None:
    table = LayoutTable.of(ParallelLayout(tp=2, dp=2, pp=4))
    assert np.asarray(pipeline_group(table).span).item() == 16
    assert np.asarray(tensor_group(table).span).item() == 2
    assert np.asarray(data_group(table).span).item() == 4
