"""Layers over stages: even, as stated, and the first ones of each recomputed, against counting layer by layer."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Schedule
from glmplan.layout.stages import split_into_stages
from glmplan.software.stack import Kernels
from glmplan.workload.graph import LAYER_KINDS, Block, BlockKind, workload_blocks
from tests.small_jobs import MODELS, job_of, model

FLASH = Kernels(attention="flash")


def blocks_of(kind: str = "dense", layers: int = 6) -> tuple[Block, ...]:
    return workload_blocks(job_of(model(kind, layers=layers)), FLASH)


def kinds_in_order(blocks: tuple[Block, ...]) -> list[BlockKind]:
    return [block.kind for block in blocks if block.kind in LAYER_KINDS for _ in range(block.count)]


@st.composite
def stated(draw: st.DrawFn) -> tuple[tuple[Block, ...], ParallelLayout]:
    """A model and a layout that says how many layers each chunk has, and what each stage recomputes."""
    blocks = blocks_of(draw(st.sampled_from(MODELS)), draw(st.integers(2, 12)))
    total = len(kinds_in_order(blocks))
    pp, v = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=pp * v - 1, max_size=pp * v - 1)))
    bounds = [0, *cuts, total]
    layers = tuple(b - a for a, b in itertools.pairwise(bounds))
    recompute = draw(st.sampled_from(Recompute))
    each = tuple(draw(st.lists(st.integers(0, total), min_size=pp, max_size=pp)))
    return blocks, ParallelLayout(
        pp=pp,
        virtual_stages=v,
        stage_layers=layers,
        stage_recompute_layers=each if recompute is Recompute.FULL else None,
        recompute=recompute,
    )


@settings(max_examples=150)
@given(drawn=stated())
def test_stated_stages_hold_the_layers_that_counting_gives_them(
    drawn: tuple[tuple[Block, ...], ParallelLayout],
) -> None:
    blocks, layout = drawn
    order, held = kinds_in_order(blocks), [list[BlockKind]() for _ in range(layout.pp)]
    assert layout.stage_layers is not None
    begin = 0
    for chunk, layers in enumerate(layout.stage_layers):
        held[chunk % layout.pp] += order[begin : begin + layers]
        begin += layers
    stages = split_into_stages(blocks, LayoutTable.of(layout))
    limits = layout.stage_recompute_layers or (0,) * layout.pp
    for s, (mine, limit) in enumerate(zip(held, limits, strict=True)):
        for kind in set(order):
            assert stages.counts[kind][s, 0] == mine.count(kind)
            assert stages.repeated[kind][s, 0] == mine[:limit].count(kind)
    for kind in set(order):
        again = sum(mine[:limit].count(kind) for mine, limit in zip(held, limits, strict=True))
        assert stages.all_repeated[kind][0] == again
        assert stages.all_counts[kind][0] == order.count(kind)
    assert stages.exists[:, 0].tolist() == [s < layout.pp for s in range(len(stages.exists))]
    assert stages.counts[BlockKind.EMBEDDING][0, 0] == stages.counts[BlockKind.HEAD][layout.pp - 1, 0] == 1


@settings(max_examples=150)
@given(kind=st.sampled_from(MODELS), layers=st.integers(2, 40), data=st.data())
def test_an_even_split_that_is_stated_is_the_even_split(kind: str, layers: int, data: st.DataObject) -> None:
    """The three stages that stand for all are among all, and sums over the pipeline agree. Where two kinds of layers
    meet, the inner stage that stands for the others holds as many layers of the second kind as there can be."""
    blocks = blocks_of(kind, layers)
    total = len(kinds_in_order(blocks))
    pp, limit = data.draw(st.integers(1, min(total, 9))), data.draw(st.none() | st.integers(0, total))
    even = ParallelLayout(pp=pp, recompute=Recompute.FULL, recompute_layers=limit)
    share, rest = divmod(total, pp)
    inner = [share + 1] * min(rest, max(pp - 2, 0))
    first = share + (1 if rest > len(inner) else 0)
    sizes = [first, *inner, *[share] * (pp - 1 - len(inner))]
    spelt = even.model_copy(update={"stage_layers": tuple(sizes)})
    three = split_into_stages(blocks, LayoutTable.of(even))
    every = split_into_stages(blocks, LayoutTable.of(spelt))
    for s in np.flatnonzero(three.exists[:, 0]):
        columns = [tuple(every.counts[k][i, 0] for k in every.counts) for i in range(pp)]
        if len(three.all_repeated) == 1:
            assert tuple(three.counts[k][s, 0] for k in every.counts) in columns
        assert sum(three.counts[k][s, 0] for k in three.all_repeated) in sizes
    for k in three.all_counts:
        assert three.all_counts[k].tolist() == every.all_counts[k].tolist()
    for k in three.all_repeated:
        assert three.all_repeated[k].tolist() == every.all_repeated[k].tolist()


def test_stated_and_even_layouts_stand_in_one_table() -> None:
    blocks = blocks_of("dense", 8)
    plain = ParallelLayout(pp=4)
    uneven = ParallelLayout(pp=4, stage_layers=(1, 3, 3, 1))
    chunks = ParallelLayout(
        pp=2, virtual_stages=2, schedule=Schedule.INTERLEAVED, stage_layers=(1, 2, 2, 3), recompute=Recompute.SELECTIVE
    )
    together = split_into_stages(blocks, LayoutTable.of(plain, uneven, chunks))
    dense = together.counts[BlockKind.DENSE_LAYER]
    assert dense[:3, 0].tolist() == [2, 2, 2]
    assert dense[:, 1].tolist() == [1, 3, 3, 1]
    assert dense[:2, 2].tolist() == [3, 5]
    assert together.exists.sum(axis=0).tolist() == [3, 4, 2]
    assert together.partly_repeated[BlockKind.DENSE_LAYER][:2, 2].tolist() == [3, 5]
    assert together.position[:, 1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [0, 1, 2, 5])
def test_only_full_recomputation_has_a_number_of_layers(limit: int) -> None:
    blocks = blocks_of("dense", 6)
    layouts = [ParallelLayout(pp=3, recompute=recompute, recompute_layers=limit) for recompute in Recompute]
    stages = split_into_stages(blocks, LayoutTable.of(*layouts))
    assert stages.repeated[BlockKind.DENSE_LAYER][0].tolist() == [0, 0, min(limit, 2)]
