from hypothesis import given
from hypothesis import strategies as st

from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Schedule
from glmplan.layout.stages import split_into_stages
from glmplan.software.stack import Kernels
from glmplan.train.pipeline_stages import chunk_layers, held_chunks, recomputed_layers
from glmplan.workload.graph import BlockKind, workload_blocks
from tests.train.jobs import tiny_job


@given(
    pp=st.integers(2, 6),
    layers=st.integers(6, 20),
    limit=st.none() | st.integers(0, 8),
    full=st.booleans(),
)
def test_the_planner_costs_the_layers_that_the_trainer_places(
    pp: int, layers: int, limit: int | None, full: bool
) -> None:
    """Golden by a second way: the cost model's stage counts, which are arrays over layouts."""
    recompute = Recompute.FULL if full else Recompute.NONE
    even = ParallelLayout(pp=pp, recompute=recompute, recompute_layers=limit if full else None)
    held = [len(chunk) for chunk in chunk_layers(even, layers)]
    stated = even.model_copy(update={"stage_layers": tuple(held)})
    for layout in (even, stated):
        assert [len(chunk) for chunk in chunk_layers(layout, layers)] == held
    blocks = workload_blocks(tiny_job(layers=layers), Kernels(attention="flash"))
    stages = split_into_stages(blocks, LayoutTable.of(stated))
    assert stages.counts[BlockKind.DENSE_LAYER][:pp, 0].tolist() == held
    costed = split_into_stages(blocks, LayoutTable.of(even))
    assert costed.counts[BlockKind.DENSE_LAYER][0, 0] == held[0]
    assert costed.counts[BlockKind.DENSE_LAYER][2, 0] == held[-1]
    repeated = [len(recomputed_layers(stated, layers, stage)) for stage in range(pp)]
    assert stages.repeated[BlockKind.DENSE_LAYER][:pp, 0].tolist() == repeated


def test_all_layers_are_held_once_and_in_order() -> None:
    layout = ParallelLayout(pp=3, virtual_stages=2, schedule=Schedule.INTERLEAVED)
    chunks = chunk_layers(layout, 12)
    assert [layer for chunk in chunks for layer in chunk] == list(range(12))
    assert sorted(number for stage in range(3) for number in held_chunks(layout, stage)) == list(range(6))
    assert list(held_chunks(layout, 1)) == [1, 4]


def test_the_first_layers_of_a_stage_are_recomputed_over_its_chunks() -> None:
    layout = ParallelLayout(
        pp=2,
        virtual_stages=2,
        schedule=Schedule.INTERLEAVED,
        recompute=Recompute.FULL,
        stage_recompute_layers=(3, 0),
    )
    assert recomputed_layers(layout, 8, 0) == {0, 1, 4}
    assert recomputed_layers(layout, 8, 1) == set()
    assert recomputed_layers(ParallelLayout(recompute=Recompute.FULL, recompute_layers=1), 4, 0) == {0}
    assert recomputed_layers(ParallelLayout(recompute=Recompute.SELECTIVE), 4, 0) == set()
