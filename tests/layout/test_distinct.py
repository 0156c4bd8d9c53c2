"""Rows that differ in some columns, against a set of tuples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glmplan.layout.distinct import distinct
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout

LAYOUTS = st.builds(
    ParallelLayout,
    tp=st.sampled_from([1, 2, 8]),
    dp=st.sampled_from([1, 4, 131072]),
    micro_batch=st.integers(1, 3),
    stage_layers=st.sampled_from([None, (1, 2), (2, 1), (3,)]),
)


@given(layouts=st.lists(LAYOUTS, min_size=1, max_size=30))
def test_each_combination_stands_once_and_every_row_finds_its_own(layouts: list[ParallelLayout]) -> None:
    columns = ("tp", "dp", "stage_layers")
    keys = [tuple(getattr(layout, name) for name in columns) for layout in layouts]
    unique, inverse = distinct(LayoutTable.of(*layouts), columns)
    found = [tuple(getattr(unique.row(i), name) for name in columns) for i in range(len(unique))]
    assert sorted(map(str, found)) == sorted(map(str, set(keys)))
    assert [found[i] for i in inverse] == keys


def test_the_first_of_equal_rows_stands_for_them() -> None:
    layouts = [ParallelLayout(tp=2, micro_batch=m) for m in (3, 1, 2)]
    unique, inverse = distinct(LayoutTable.of(*layouts), ("tp",))
    assert unique.micro_batch.tolist() == [3]
    assert inverse.tolist() == [0, 0, 0]


def test_an_empty_table_has_no_rows() -> None:
    empty = LayoutTable.of(ParallelLayout()).take(np.array([], dtype=np.int64))
    unique, inverse = distinct(empty, ("tp", "dp"))
    assert len(unique) == len(inverse) == 0
