"""Every legal layout: rules, a lower bound, memory, then time for those that fit. Exact within the cost model.

Layouts come in the order of their lower bounds. Whatever cannot be among the best is counted and not looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from glmplan.cost.estimate import StepEstimate
from glmplan.cost.interval import peak_bounds
from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import CostModel
from glmplan.layout import candidates
from glmplan.layout.candidates import SHARD_COLUMNS, scheduled, sharded, stem_pieces, stems
from glmplan.layout.choices import Choices
from glmplan.layout.crossing import pieces
from glmplan.layout.distinct import distinct
from glmplan.layout.parallel_layout import Ints, LayoutTable, ParallelLayout
from glmplan.layout.rules import Context
from glmplan.search.objective import Objective, ranking
from glmplan.search.partial_recompute import Memory, Refined, fewest_repeated, numbers_of_layers
from glmplan.search.tally import Tally
from glmplan.search.time_floors import TimeFloors, time_floors

TOO_LARGE = "does not fit in memory"
NOT_FASTER = "cannot be among the best by the lower bound of its time"
NOT_SMALLER = "needs more memory than the best ones"
MORE_REPEATED = "recomputes more layers than it needs to fit"
FEWER_REPEATED = "recomputes too few layers to fit"
FIRST_ROWS = 4_000
"""Layouts costed before the first lower bound is held against the best of them; then twice as many, and so on."""
MemoryBound = Literal["predicted", "high90"]
"""What must fit: the predicted peak, or the upper end of its 90 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A layout that the search kept, with its estimate."""

    layout: ParallelLayout
    estimate: StepEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The best layouts, and what became of the others."""

    best: tuple[Found, ...]
    """Best first; empty when nothing fits."""
    considered: int
    """Feasible and rejected ones."""
    feasible: int
    rejected: dict[str, int]
    pruned: dict[str, int]
    """Reason -> legal layouts that cannot be among the best, or cannot fit, by proof: not considered."""
    smallest: Found | None
    """The layout with the least memory, when nothing fits; None when no layout keeps the rules."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """What a search is asked for."""

    model: CostModel
    context: Context
    choices: Choices
    objective: Objective
    limit_bytes: float
    memory_bound: MemoryBound
    visit: Callable[[LayoutTable], None] | None

    @property
    def chooses_layers(self) -> bool:
        """Whether fewer layers may be recomputed: the stack can do that, and nobody says how many."""
        support = self.context.support
        return self.objective == "time" and self.choices.recompute_layers is None and support.recompute_layers

    def numbers(self, table: LayoutTable) -> Ints:
        """How many layouts each row stands for, which differ in the layers that they recompute."""
        if not self.chooses_layers:
            return np.ones(len(table), dtype=np.int64)
        return numbers_of_layers(table, self.context.job.architecture.total_layers)

    def room(self, memory: Memory) -> npt.NDArray[np.bool_]:
        """Whether device and host hold it."""
        peak = limiting_bytes(self.model, memory, self.memory_bound)
        return (peak <= self.limit_bytes) & self.model.fits_host(memory)

    def refined(self, table: LayoutTable, memory: Memory) -> Refined:
        """What fits of ``table``, with as few layers recomputed as fit."""
        if self.chooses_layers:
            layers = self.context.job.architecture.total_layers
            return fewest_repeated(table, memory, layers, self.model.memory, self.room)
        return Refined(table=table, memory=memory, fits=self.room(memory), further_fitting=0, further_too_large=0)

    def ways(self, table: LayoutTable) -> tuple[Ints, Ints]:
        """For each scheduled row: the rows that sharding makes of it, and the layouts that they stand for."""
        unique, rows = distinct(table, (*SHARD_COLUMNS, "recompute", "recompute_layers"))
        made = sharded(unique, self.context, self.choices)
        number = np.bincount(made.rows, minlength=len(unique))
        layouts = np.bincount(made.rows, self.numbers(made.table), minlength=len(unique)).astype(np.int64)
        return number[rows], layouts[rows]


def search_layouts(
    model: CostModel,
    context: Context,
    choices: Choices,
    *,
    objective: Objective,
    memory_margin: float,
    memory_bound: MemoryBound = "predicted",
    keep: int,
    progress: Callable[[int], None] | None = None,
    visit: Callable[[LayoutTable], None] | None = None,
) -> SearchResult:
    """The ``keep`` best legal layouts that leave ``memory_margin`` free.

    ``progress`` hears the number considered. ``visit`` sees all that fit: then nothing is left out by a lower bound.
    """
    search = _Search(
        model=model,
        context=context,
        choices=choices,
        objective=objective,
        limit_bytes=model.cluster.device.memory_capacity_bytes * (1.0 - memory_margin),
        memory_bound=memory_bound,
        visit=visit,
    )
    tally = Tally(objective=objective, keep=keep)
    for table in _promising(search, tally):
        _consider(search, tally, table)
        if progress is not None:
            progress(tally.considered)
    if progress is not None:
        progress(tally.considered)
    best = _finalists(model, LayoutTable.concatenate(tally.best), objective, keep) if tally.best else ()
    alone = _finalists(model, tally.smallest, objective, 1)[0] if not best and tally.smallest is not None else None
    return SearchResult(
        best=best,
        considered=tally.considered,
        feasible=tally.feasible,
        rejected=_most_first(tally.rejected),
        pruned=_most_first(tally.pruned),
        smallest=alone,
    )


def _promising(search: _Search, tally: Tally) -> Iterator[LayoutTable]:
    """Legal layouts in tables, the lowest bounds first; the others are counted in ``tally``."""
    context, choices = search.context, search.choices
    start = stems(context, choices)
    tally.reject(start.rejected)
    floors: TimeFloors | None = None
    order = np.arange(len(start.table))
    if search.objective == "time" and search.visit is None and len(order):
        floors = time_floors(search.model, start.table, choices, partial=search.chooses_layers)
        order = floors.most_promising
    for rows in stem_pieces(start.table, order, context, choices):
        planned = scheduled(start.table.take(rows), context, choices)
        tally.reject(planned.rejected)
        table, least_s = planned.table, np.zeros(len(planned.table))
        if floors is not None:
            least_s = floors.least_s(table, rows[planned.rows])
        number, layouts = search.ways(table)
        first = np.argsort(least_s, kind="stable")
        for some in pieces(first, number[first], candidates.ROWS_PER_TABLE, FIRST_ROWS):
            hopeless = tally.hopeless(least_s[some])
            tally.prune(NOT_FASTER, int(layouts[some][hopeless].sum()))
            if hopeless.all():
                continue
            batch = sharded(table.take(some[~hopeless]), context, choices)
            tally.reject(batch.rejected)
            if len(batch.table):
                yield batch.table


def _consider(search: _Search, tally: Tally, table: LayoutTable) -> None:
    """Memory of the layouts of ``table``, and time of those that fit."""
    memory = search.model.memory(table)
    tally.weigh(table, limiting_bytes(search.model, memory, search.memory_bound))
    refined = search.refined(table, memory)
    tally.prune(MORE_REPEATED, refined.further_fitting)
    tally.prune(FEWER_REPEATED, refined.further_too_large)
    tally.reject({TOO_LARGE: int((~refined.fits).sum())})
    open_ = refined.fits
    if search.objective == "memory" and search.visit is None:
        open_ = refined.fits & ~tally.hopeless(needed_bytes(refined.memory))
        tally.prune(NOT_SMALLER, int(refined.fits.sum() - open_.sum()))
    if open_.any():
        fitting = refined.table.take(open_)
        if search.visit is not None:
            search.visit(fitting)
        held = {name: values[open_] for name, values in refined.memory.items()}
        tally.enter(fitting, search.model.with_time(fitting, held))


def limiting_bytes(
    model: CostModel, memory: dict[str, npt.NDArray[np.float64]], bound: MemoryBound
) -> npt.NDArray[np.float64]:
    """The bytes of each layout that the device's memory must hold."""
    needed = needed_bytes(memory)
    return needed if bound == "predicted" else peak_bounds(needed, memory["reserve_bytes"], model.memory_interval)[1]


def _finalists(model: CostModel, table: LayoutTable, objective: Objective, keep: int) -> tuple[Found, ...]:
    """The ``keep`` best of the rows that won in their own batch, best first."""
    estimates = model.estimate(table)
    rows = [int(row) for row in ranking(table, estimates, objective, keep)]
    return tuple(Found(layout=table.row(row), estimate=estimates.row(row)) for row in rows)


def _most_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
