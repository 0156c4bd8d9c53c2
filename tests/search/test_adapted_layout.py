"""What follows when a layout's degrees, the batch or the devices change."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Schedule, Sharding
from glmplan.search.adapted_layout import adapted_layout

PLAIN = ParallelLayout(
    tp=2,
    pp=2,
    virtual_stages=2,
    dp=4,
    sharding=Sharding.ZERO1,
    shard_group=4,
    grad_accum=8,
    recompute=Recompute.FULL,
    recompute_layers=1,
    schedule=Schedule.INTERLEAVED,
    sequence_parallel=True,
)


def adapted(num_devices: int = 16, global_batch: int = 32, **fields: object) -> ParallelLayout:
    return adapted_layout(PLAIN, fields, num_devices=num_devices, global_batch=global_batch)


def test_without_a_change_the_layout_is_the_same() -> None:
    assert adapted() == PLAIN


def test_the_data_parallel_ranks_and_their_shards_follow_the_degrees() -> None:
    layout = adapted(tp=4)
    assert (layout.dp, layout.shard_group, layout.grad_accum) == (2, 2, 16)
    assert layout.sequence_parallel


def test_what_a_degree_of_one_makes_pointless_is_switched_off() -> None:
    assert not adapted(tp=1).sequence_parallel
    alone = adapted(pp=1)
    assert (alone.virtual_stages, alone.schedule) == (1, Schedule.ONE_F_ONE_B)
    assert adapted(recompute=Recompute.NONE).recompute_layers is None
    assert adapted(sharding=Sharding.NONE).shard_group == 1
    assert adapted(virtual_stages=1).schedule is Schedule.ONE_F_ONE_B


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.sampled_from([16, 32, 64]), st.integers(1, 4))
def test_devices_and_batch_are_always_filled(tp: int, pp: int, devices: int, batches: int) -> None:
    layout = adapted(num_devices=devices, global_batch=64 * batches, tp=tp, pp=pp)
    assert layout.world_size == devices
    assert layout.global_batch == 64 * batches


def test_degrees_that_do_not_make_the_devices_or_the_batch_are_refused() -> None:
    with pytest.raises(InputError, match=re.escape("layout: tp 3 x cp 1 x pp 2 = 6 does not divide the 16 devices")):
        adapted(tp=3)
    with pytest.raises(InputError, match=re.escape("dp 4 x micro_batch 3 does not divide global_batch 32")):
        adapted(micro_batch=3)
