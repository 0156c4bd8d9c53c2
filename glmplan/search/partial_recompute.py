"""Full recomputation of each stage's first layers only: the fewest that fit.

With the number k of repeated layers, and all else the same, a step's time does not fall (the slowest stage and the
passage through all stages grow, and communication finds at most as much more to hide behind) and its memory does not
grow. So of k = 1 ... n, n a stage's layers, the smallest k that fits is the fastest: bisection finds it, and the
others need no time computed. Where activations go to the host, fewer kept ones also wait less: there k stays n.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from glmplan.layout.host_offload import offloads_activations
from glmplan.layout.parallel_layout import RECOMPUTES, UNSTATED, Ints, LayoutTable, Recompute

Floats = npt.NDArray[np.float64]
Memory = dict[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """A table whose fully recomputing layouts repeat as few layers as fit, with its memory."""

    table: LayoutTable
    memory: Memory
    fits: npt.NDArray[np.bool_]
    further_fitting: int
    """Layouts that repeat more layers than they need."""
    further_too_large: int
    """Layouts that repeat fewer than they need."""


def numbers_of_layers(table: LayoutTable, total_layers: int) -> Ints:
    """Of each layout how many there are that differ in the number of repeated layers only."""
    return np.where(_is_open(table), -(-total_layers // table.pp), 1)


def _is_open(table: LayoutTable) -> npt.NDArray[np.bool_]:
    full = (table.recompute == RECOMPUTES.index(Recompute.FULL)) & (table.recompute_layers == UNSTATED)
    return np.asarray(full & ~offloads_activations(table))


def fewest_repeated(
    table: LayoutTable,
    memory: Memory,
    total_layers: int,
    memory_of: Callable[[LayoutTable], Memory],
    fits: Callable[[Memory], npt.NDArray[np.bool_]],
) -> Refined:
    """``table`` with the smallest number of repeated layers under which each layout fits, where any does."""
    fitting = fits(memory)
    most = numbers_of_layers(table, total_layers)
    open_ = most > 1
    further_too_large = int((most - 1)[open_ & ~fitting].sum())
    rows = np.flatnonzero(open_ & fitting)
    if not len(rows):
        return Refined(table=table, memory=memory, fits=fitting, further_fitting=0, further_too_large=further_too_large)
    low, high = np.ones(len(rows), dtype=np.int64), most[rows]
    lowest_first = True  # where memory does not bind, one layer is enough
    while (active := np.flatnonzero(low < high)).size:
        middle = low[active] if lowest_first else (low[active] + high[active]) // 2
        lowest_first = False
        good = fits(memory_of(replace(table.take(rows[active]), recompute_layers=middle)))
        high[active] = np.where(good, middle, high[active])
        low[active] = np.where(good, low[active], middle + 1)
    further_too_large += int((high - 1).sum())
    further_fitting = int((most[rows] - high).sum())
    fewer = high < most[rows]
    chosen = np.array(table.recompute_layers)
    chosen[rows[fewer]] = high[fewer]
    refined = replace(table, recompute_layers=chosen)
    changed = memory_of(refined.take(rows[fewer]))
    whole = {name: np.array(values) for name, values in memory.items()}
    for name, values in changed.items():
        whole[name][rows[fewer]] = values
    return Refined(
        table=refined,
        memory=whole,
        fits=fitting,
        further_fitting=further_fitting,
        further_too_large=further_too_large,
    )
