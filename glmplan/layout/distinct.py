"""Rows of a table that differ in some columns: what depends on those alone is computed once for each."""

import numpy as np

from glmplan.layout.parallel_layout import Ints, LayoutTable


def distinct(table: LayoutTable, columns: tuple[str, ...]) -> tuple[LayoutTable, Ints]:
    """Rows that differ in ``columns``, and for each row of ``table`` the one it equals there."""
    first, inverse = first_rows(table, columns)
    return table.take(first), inverse


def first_rows(table: LayoutTable, columns: tuple[str, ...]) -> tuple[Ints, Ints]:
    """Of the rows that are alike in ``columns`` the first, and for each row of ``table`` which of those it is like."""
    key = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        column = getattr(table, name)
        for values in column.T if column.ndim > 1 else (column,):
            number, codes = _codes(values)
            _, key = _codes(key * number + codes)
    number, inverse = _codes(key)
    first = np.empty(number, dtype=np.int64)
    first[inverse[::-1]] = np.arange(len(table))[::-1]  # of several assignments the last one stays
    return first, inverse


def _codes(values: Ints) -> tuple[int, Ints]:
    """How many values there are, and the place of each in their order: counted where they lie close, else sorted."""
    if not len(values):
        return 0, values
    low = values.min()
    span = int(values.max() - low) + 1
    if span > 4 * len(values) + 1024:
        found, codes = np.unique(values, return_inverse=True)
        return len(found), codes
    seen = np.zeros(span, dtype=bool)
    seen[values - low] = True
    places = np.cumsum(seen) - 1
    return int(places[-1]) + 1, places[values - low]
