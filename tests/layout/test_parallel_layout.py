"""A layout is one row of a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from glmplan.layout.parallel_layout import LayoutTable, Offload, ParallelLayout, Recompute, Schedule, Sharding

DEGREES = st.integers(1, 4096)
LAYOUTS = st.builds(
    ParallelLayout,
    **dict.fromkeys(("tp", "cp", "pp", "virtual_stages", "ep", "dp", "shard_group", "micro_batch"), DEGREES),
    grad_accum=DEGREES,
    sharding=st.sampled_from(Sharding),
    recompute=st.sampled_from(Recompute),
    schedule=st.sampled_from(Schedule),
    sequence_parallel=st.booleans(),
    recompute_layers=st.none() | st.integers(0, 99),
    stage_layers=st.none() | st.lists(st.integers(0, 99), min_size=1, max_size=6).map(tuple),
    stage_recompute_layers=st.none() | st.lists(st.integers(0, 99), min_size=1, max_size=4).map(tuple),
    offload=st.sampled_from(Offload),
)


@given(layouts=st.lists(LAYOUTS, min_size=1, max_size=5))
def test_layouts_come_back_from_a_table_as_they_went_in(layouts: list[ParallelLayout]) -> None:
    table = LayoutTable.of(*layouts)
    assert [table.row(index) for index in range(len(table))] == layouts
    assert [table.take(slice(index, index + 1)).row(0) for index in range(len(table))] == layouts
    twice = LayoutTable.concatenate([table, table])
    assert len(twice) == 2 * len(table)
    assert twice.row(len(table)) == layouts[0]


@given(layout=LAYOUTS)
def test_world_and_batch_are_products_of_degrees(layout: ParallelLayout) -> None:
    assert layout.world_size == layout.tp * layout.cp * layout.pp * layout.dp
    assert layout.global_batch == layout.dp * layout.micro_batch * layout.grad_accum
    assert ParallelLayout.model_validate_json(layout.model_dump_json()) == layout


def test_a_label_names_what_is_on() -> None:
    layout = ParallelLayout(
        tp=8, sequence_parallel=True, pp=4, virtual_stages=2, dp=8, sharding=Sharding.HSDP, shard_group=4, ep=2, cp=2
    )
    assert layout.label() == "tp8+sp pp4 v2 cp2 ep2 dp8 hsdp4 mb1 none"
    assert ParallelLayout().label() == "tp1 pp1 dp1 mb1 none"
    stated = ParallelLayout(pp=4, stage_layers=(7, 8, 8, 7), recompute=Recompute.FULL, offload=Offload.OPTIMIZER)
    assert stated.label() == "tp1 pp4(7,8x2,7) dp1 mb1 full offload:optimizer"
    some = ParallelLayout(pp=2, recompute=Recompute.FULL, recompute_layers=3)
    assert some.label() == "tp1 pp2 dp1 mb1 full3"
    each = ParallelLayout(pp=2, recompute=Recompute.FULL, stage_recompute_layers=(3, 0))
    assert each.label() == "tp1 pp2 dp1 mb1 full(3,0)"


@pytest.mark.parametrize("fields", [{"tp": 0}, {"dp": -1}, {"pp": 1.5}, {"sharding": "zero4"}, {"unknown": 1}])
def test_impossible_layouts_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ParallelLayout.model_validate(fields)
