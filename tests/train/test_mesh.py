import math

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.train.mesh import mesh_shape


@pytest.mark.parametrize(
    ("sharding", "shape"),
    [
        (Sharding.NONE, (3, 8, 1, 2)),
        (Sharding.ZERO1, (3, 1, 8, 2)),
        (Sharding.FSDP, (3, 1, 8, 2)),
        (Sharding.HSDP, (3, 2, 4, 2)),
    ],
)
def test_the_mesh_follows_the_sharding_and_holds_all_ranks(sharding: Sharding, shape: tuple[int, ...]) -> None:
    layout = ParallelLayout(tp=2, pp=3, dp=8, sharding=sharding, shard_group=4)
    assert mesh_shape(layout) == shape
    assert math.prod(shape) == layout.world_size
