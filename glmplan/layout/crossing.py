"""Tables made larger: each row with several values of some columns, and the row that each new one came from."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from glmplan.layout.parallel_layout import CODES, LISTS, OPTIONAL, UNSTATED, Ints, LayoutTable

Mask = npt.NDArray[np.bool_]


def table_of(**columns: Ints) -> LayoutTable:
    """A table of ``columns``; the others say nothing."""
    size = len(next(iter(columns.values())))
    ones, zeros = np.ones(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    defaults: dict[str, Ints] = dict.fromkeys(CODES, zeros) | dict.fromkeys(OPTIONAL, np.full(size, UNSTATED))
    defaults |= dict.fromkeys(LISTS, np.empty((size, 0), dtype=np.int64))
    defaults |= columns
    return LayoutTable(**{name: defaults.get(name, ones) for name in LayoutTable.__dataclass_fields__})


def with_columns(table: LayoutTable, **columns: Ints) -> LayoutTable:
    """``table`` with other values in some columns."""
    return LayoutTable(**(table.columns() | columns))


def crossed(table: LayoutTable, keep: Mask, **values: Ints) -> tuple[LayoutTable, Ints]:
    """Row i with combination j of ``values`` wherever ``keep[i, j]``, and i for each of the rows made."""
    rows, which = np.nonzero(np.broadcast_to(keep, (len(table), len(next(iter(values.values()))))))
    return with_columns(table.take(rows), **{name: np.asarray(each)[which] for name, each in values.items()}), rows


def combinations(**values: "list[int]") -> dict[str, Ints]:
    """Every combination of ``values``, as equally long columns."""
    grid = np.meshgrid(*[np.asarray(each, dtype=np.int64) for each in values.values()], indexing="ij")
    return {name: axis.ravel() for name, axis in zip(values, grid, strict=True)}


def pieces(rows: Ints, sizes: Ints, largest: int, first: int | None = None) -> Iterator[Ints]:
    """``rows`` in order, cut where the sum of their ``sizes`` would pass ``largest``; at least one row each.

    With ``first`` the first piece is cut there, the second at twice as much, and so on.
    """
    start, ends, limit = 0, np.cumsum(sizes), min(largest, first or largest)
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield rows[start:end]
        start, limit = end, min(largest, 2 * limit)
